"""Methods without weights: flat maps of empty scenes, peaks on objects, no seam, agreement with measured gazes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from shared_data import data_path

from con360.choices import MULTICUE, NAMED_METHODS, TRAINING_FREE
from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.sphere import angle_between_deg, directions
from con360.metrics.saliency import panorama_agreement
from con360.saliency.predict import predict_saliency
from con360.scenes import Scene, demo_scene, random_scene
from con360.timing import ClipSpec
from con360.viewpoint.choose import viewpoints

SHORT = ClipSpec(seconds=0.5)


@pytest.fixture(params=NAMED_METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def away_deg(view, performer, time_s: float) -> float:
    a = directions(view.yaw_deg, view.pitch_deg)
    return angle_between_deg(a, directions(float(performer.yaw_at(time_s)), performer.pitch_deg)).item()


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def grey_with_disc(yaw: float, pitch: float, radius: float = 10, height: int = 128) -> torch.Tensor:
    away = angle_between_deg(erp_directions(height), directions(yaw, pitch))
    frame = torch.full((3, height, 2 * height), 0.5)
    frame[0] += 0.4 * torch.sigmoid((radius - away) * 2)
    return frame


def plain(level: float) -> torch.Tensor:
    return torch.full((3, 3, 64, 128), level)


def flickering_black() -> torch.Tensor:
    return (torch.rand(3, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 3).floor() / 255


def smooth_sky() -> torch.Tensor:
    return (erp_directions(128)[..., 1] * 0.3 + 0.5).expand(2, 3, -1, -1).contiguous()


@pytest.mark.parametrize(
    "frames",
    [plain(0.0), plain(0.4), plain(1.0), flickering_black(), smooth_sky()],
    ids=["black", "grey", "white", "noisy-black", "smooth-sky"],
)
def test_nothing_to_see_gives_a_flat_map(frames, method):
    maps = predict_saliency(frames, method, height=32).maps
    assert maps.shape == (len(frames), 32, 64)
    assert (maps == 1).all()


def test_one_map_per_frame_with_maximum_one(method):
    clip = demo_scene().panorama(64, SHORT)
    seen = []
    result = predict_saliency(
        clip.frames, method, height=48, progress=lambda done, total, what: seen.append((done, total, what))
    )
    assert result.method == method
    assert result.maps.shape == (clip.num_frames, 48, 96) and result.maps.dtype == torch.float32
    assert torch.equal(result.maps.amax((-1, -2)), torch.ones(clip.num_frames))
    assert result.maps.min() >= 0
    assert seen[-1] == (clip.num_frames, clip.num_frames, "saliency")


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (77, 20), (180, 0), (-179, -35), (30, 62)])
def test_a_disc_is_found_wherever_it_is(yaw, pitch, method):
    maps = predict_saliency(grey_with_disc(yaw, pitch)[None], method, height=64).maps[0]
    row, column = divmod(int(maps.argmax()), 128)
    peak = directions((column + 0.5) / 128 * 360 - 180, 90 - (row + 0.5) / 64 * 180)
    assert angle_between_deg(peak, directions(yaw, pitch)) < 10


def test_no_seam(method):
    frame = grey_with_disc(178, 5)
    maps = predict_saliency(frame[None], method, height=64).maps[0]
    across = (maps[:, 0] - maps[:, -1]).abs().max()
    elsewhere = (maps[:, 1:] - maps[:, :-1]).abs().max()
    assert across <= elsewhere


def test_turning_the_panorama_turns_the_map(method):
    frame = demo_scene().panorama(96, SHORT).frames[:1]
    maps = predict_saliency(frame, method, height=96).maps
    turned = predict_saliency(frame.roll(40, -1), method, height=96).maps
    # Patches lie elsewhere in the turned picture, so the maps differ a little.
    assert correlation(maps.roll(40, -1), turned) > 0.97


def test_what_moves_stands_out_from_its_twin(method):
    """Two equal discs, one of them moving: motion must decide."""
    frames = []
    for t in range(6):
        moving, still = grey_with_disc(60 + 4.0 * t, 0), grey_with_disc(-60, 0)
        frames.append(torch.maximum(moving, still))
    maps = predict_saliency(torch.stack(frames), method, height=64).maps[3]
    right, left = maps[:, 64:].max(), maps[:, :64].max()
    assert right == 1 and left < 0.8


def test_a_turning_camera_is_not_a_moving_thing(method):
    frame = demo_scene().panorama(96, SHORT).frames[0]
    panned = torch.stack([frame.roll(t, -1) for t in range(4)])
    still = predict_saliency(frame[None].expand(4, -1, -1, -1).contiguous(), method, height=48).maps[2]
    assert correlation(predict_saliency(panned, method, height=48).maps[2].roll(-1, -1), still) > 0.6


@pytest.mark.parametrize(("method", "ranking", "share"), [
    (TRAINING_FREE, "centroid", 0.9), (MULTICUE, "subject", 0.85),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["still", "track"])
def test_procedural_performers_are_found(mode, method, ranking, share):
    found = extra = total = 0
    for seed in range(6):
        scene = random_scene(seed)
        saliency = predict_saliency(scene.panorama(96, SHORT).frames, method, height=64)
        views = [v.track.views[2] for v in viewpoints(saliency, 8.0, mode=mode, ranking=ranking)]
        total += len(scene.performers)
        found += sum(any(away_deg(view, p, 0.25) < 12 for view in views) for p in scene.performers)
        extra += sum(all(away_deg(view, p, 0.25) >= 12 for p in scene.performers) for view in views)
    assert found / total >= share, f"{found} of {total} performers"
    # The edges of a large plain disc are structure; its middle is not.
    assert extra <= (1 if ranking == "centroid" else 3)


def test_agrees_with_a_scenes_truth(method):
    scene = demo_scene()
    maps = predict_saliency(scene.panorama(96, SHORT).frames, method, height=64).maps
    truth = scene.saliency(64, SHORT).maps
    assert min(correlation(a, b) for a, b in zip(maps, truth, strict=True)) > 0.65


@pytest.mark.parametrize(("number", "least", "before"), [(1, 0.45, 0.24), (2, 0.5, 0.38), (3, 0.5, 0.39)])
def test_agrees_with_people_on_real_panoramas(number, least, before):
    """Correlate with measured gazes over the sphere; a map of latitude alone gives 0.43, 0.37 and 0.34."""
    image = cv2.imread(str(data_path(f"saliency/salient_{number}.jpg")))[..., ::-1]
    truth = cv2.imread(str(data_path(f"saliency/salient_{number}_gt_gray.png")), cv2.IMREAD_GRAYSCALE)
    frame = torch.from_numpy(cv2.resize(image, (512, 256), interpolation=cv2.INTER_AREA)).permute(2, 0, 1) / 255

    def agreement(method: str) -> float:
        maps = predict_saliency(frame[None], method, height=128).maps[0]
        return panorama_agreement(maps, torch.from_numpy(truth).float())[0]

    assert agreement(MULTICUE) > least
    assert agreement(TRAINING_FREE) > before


def test_a_single_frame_and_small_or_odd_sizes_work(method):
    generator = torch.Generator().manual_seed(1)
    for shape in ((1, 3, 8, 16), (2, 3, 101, 202)):
        maps = predict_saliency(torch.rand(shape, generator=generator), method, height=20).maps
        assert torch.isfinite(maps).all() and maps.amax() == 1


def test_an_empty_scene_is_finite(method):
    maps = predict_saliency(Scene(()).panorama(64, SHORT).frames, method, height=32).maps
    assert torch.isfinite(maps).all()


def test_cancelling_from_progress_stops(method):
    class Cancelled(Exception):
        pass

    def cancel(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        predict_saliency(torch.rand(2, 3, 16, 32), method, progress=cancel)


@pytest.mark.parametrize(
    ("frames", "method", "words"),
    [
        (torch.rand(2, 3, 16, 30), "training-free", r"\[T, 3, H, 2H\]"),
        (torch.rand(2, 1, 16, 32), "training-free", r"\[T, 3, H, 2H\]"),
        (torch.rand(0, 3, 16, 32), "training-free", r"\[T, 3, H, 2H\]"),
        (torch.full((1, 3, 16, 32), math.nan), "training-free", "NaN"),
        (torch.rand(1, 3, 16, 32), "salvit", "'salvit' is neither"),
    ],
)
def test_unusable_input_is_named(frames, method, words):
    with pytest.raises(InputError, match=words):
        predict_saliency(frames, method)
