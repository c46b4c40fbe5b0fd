"""Flat pictures on the sphere: a view that is laid back is the view, edges have no rim, and files keep their sound."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_clips import noise, numbered_frame, read_number, write_video

from con360.errors import InputError
from con360.geometry.perspective import erp_to_perspective
from con360.media.info import probe
from con360.media.reader import PanoramaStream, read_sound
from con360.media.spherical_tags import Packing
from con360.media.wav import wav_stream
from con360.media.writer import clip_stream
from con360.records import View, ViewTrack
from con360.reframing.onto_sphere import Projector
from con360.reframing.project import ProjectSettings, project
from con360.reframing.project_frames import default_height, project_frames
from con360.viewpoint.keyframes import Keyframe

PLACES = [View(180, 0, 90), View(-170, 20, 60, 30), View(30, 90, 80), View(0, -85, 100, 45)]


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture `[3, h, w]` whose finest waves are 16 pixels long; no turn or mirror image of it is like it."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    waves = torch.stack((torch.sin(x / 5 + 1) + y / height, torch.cos(y / 4 - x / 9), torch.sin((x + 2 * y) / 8)))
    return (0.5 + 0.2 * waves).float()


def levels(one: torch.Tensor, other: torch.Tensor, edge: int = 3) -> torch.Tensor:
    """Differences in levels of 255, without the outermost pixels, which the panorama's mixes with what lies beyond."""
    return 255 * (one - other)[..., edge:-edge, edge:-edge].abs()


def colour(size: tuple[int, int], value: tuple[int, int, int]) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def clip_of(path: Path, pictures: list[np.ndarray], fps: int = 10, packing: Packing | None = None) -> Path:
    height, width = pictures[0].shape[:2]
    with clip_stream(path, (width, height), Fraction(1, fps), fps, panorama=packing) as clip:
        for i, picture in enumerate(pictures):
            clip.add_frame(picture, i)
    return path


def frames(path: Path) -> list[np.ndarray]:
    return [pixels() for _, pixels in PanoramaStream(probe(path), eye="whole").frames()]


# Geometry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", PLACES, ids=str)
def test_a_picture_that_is_cropped_again_is_the_picture_within_a_level(view: View) -> None:
    picture = smooth(96, 128)
    # Panoramas that are twice as fine as the picture, the crop averages down first.
    height = round(0.95 * default_height(128, view.fov_deg)) * 2
    laid, mask = project_frames(picture[None], ViewTrack((view,)), height=height, feather_deg=0)
    back = erp_to_perspective(laid, ViewTrack((view,), 128 / 96), 128)[0]
    assert back.shape == picture.shape
    assert levels(back, picture).max() < 1
    assert levels(picture.flip(-1), picture).mean() > 20  # a mirror image, for comparison
    seen = erp_to_perspective(mask[:, None], ViewTrack((view,), 128 / 96), 128)
    assert seen[..., 3:-3, 3:-3].max() == 0


@pytest.mark.parametrize("view", PLACES[:3], ids=str)
def test_a_view_goes_back_into_its_panorama_within_a_level(view: View) -> None:
    panorama = smooth(256, 512)[None]
    picture = erp_to_perspective(panorama, view, 256)
    laid, mask = project_frames(picture, ViewTrack((view,)), panorama)
    place = mask[0] < 1
    # Of all pixels, the poles' included: there a panorama of smooth columns is not smooth.
    assert levels(laid, panorama, 1)[..., place[1:-1, 1:-1]].mean() < 1
    assert levels(panorama.flip(-1), panorama, 1)[..., place[1:-1, 1:-1]].mean() > 10  # for comparison
    assert torch.equal(laid[:, :, mask[0] == 1], panorama[:, :, mask[0] == 1])
    assert 0.5 < mask.mean() < 0.95


def test_the_feather_leaves_no_dark_rim() -> None:
    picture, view = torch.full((1, 3, 64, 64), 0.8), View(180, 30, 60)
    bare, mask = project_frames(picture, ViewTrack((view,)), height=256, feather_deg=5)
    within = mask[0] < 1
    # On black all that the mask lets through has the picture's own colour.
    assert torch.allclose(bare[0, :, within], torch.tensor(0.8), atol=1e-5)
    assert 0.2 < ((mask > 0) & (mask < 1)).sum() / within.sum() < 0.5
    same, _ = project_frames(picture, ViewTrack((view,)), torch.full((1, 3, 256, 512), 0.8), feather_deg=5)
    assert torch.allclose(same, torch.tensor(0.8), atol=1e-5)


def test_the_feather_is_as_wide_as_asked() -> None:
    # On the horizon, 1 degree is 2 pixels: the right edge lies 30 degrees to the right of the middle.
    weight = Projector(1.0, 10.0, blend=True).weight(View(0, 0, 60), 360, 720)[179, 360:]
    assert weight[0] == 1 and weight[39] > 0.99 and weight[50] == pytest.approx(0.5, abs=0.06) and weight[60] == 0


def test_a_moving_viewpoint_moves_the_picture() -> None:
    views = tuple(View(yaw, 0, 40) for yaw in (170, 180, -170))
    _, masks = project_frames(torch.ones(1, 3, 16, 16), ViewTrack(views), height=90)
    assert torch.equal(masks[1], masks[0].roll(5, -1)) and torch.equal(masks[2], masks[0].roll(10, -1))
    with pytest.raises(InputError, match="2 pictures, 3 views, 1 panoramas do not fit"):
        project_frames(torch.ones(2, 3, 16, 16), ViewTrack(views), height=90)


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_clip_on_black_keeps_times_and_sound_and_has_a_mask(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.35, 0.4]
    flat = write_video(tmp_path / "flat.mp4", times, sound=noise(2, 24000))
    made = project(flat, tmp_path / "out.mp4", View(180, 0, 120), mask=tmp_path / "mask.mp4")
    assert (made.height, made.sound, made.num_frames) == (default_height(128, 120), "copied", 4)
    for name in ("out.mp4", "mask.mp4"):
        info = probe(tmp_path / name)
        assert (info.spherical.projection, info.spherical.stereo, info.aspect) == ("equirectangular", "mono", 2)
        with av.open(str(tmp_path / name)) as container:
            shown = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        assert shown == pytest.approx(times, abs=1e-4)
    (heard, _), (own, _) = read_sound(tmp_path / "out.mp4"), read_sound(flat)
    assert torch.equal(heard.waveform, own.waveform)
    out, mask = (torch.from_numpy(np.stack(frames(tmp_path / f"{n}.mp4"))).movedim(-1, 1) for n in ("out", "mask"))
    views = ViewTrack((View(180, 0, 120),), 2.0)
    seen = erp_to_perspective(out.float() / 255, views, 128)
    assert [read_number(one) for one in seen] == [0, 1, 2, 3]
    assert mask[:, :, 0, 0].min() > 252 and erp_to_perspective(mask.float(), views, 128)[..., 20:44, 20:108].max() < 3


def test_each_frame_of_a_panorama_shows_the_clip_at_its_time(tmp_path: Path) -> None:
    flat = write_video(tmp_path / "flat.mp4", [i / 5 for i in range(3)])
    below = clip_of(tmp_path / "below.mp4", [colour((128, 256), (60 + 8 * i, 90, 120)) for i in range(10)], 10, "mono")
    settings = ProjectSettings(begin_s=0.2, feather_deg=0)
    made = project(flat, tmp_path / "out.mp4", View(0, 0, 100), below, settings)
    seen = torch.from_numpy(np.stack(frames(tmp_path / "out.mp4"))).movedim(-1, 1).float() / 255
    there = erp_to_perspective(seen, ViewTrack((View(0, 0, 100),), 2.0), 128)
    assert [read_number(one) for one in there[2:8]] == [0, 0, 1, 1, 2, 2]
    for i, (one, own) in enumerate(zip(frames(tmp_path / "out.mp4"), frames(below), strict=True)):
        alone = one[:, :64] if 2 <= i < 8 else one
        assert abs(alone.astype(int) - own[:, : alone.shape[1]]).max() <= 2
    told = " ".join(made.notices)
    assert "frames per second and the panorama 10" in told and "from there on, the panorama stands alone" in told
    with pytest.raises(InputError, match="choose an earlier beginning"):
        project(flat, tmp_path / "late.mp4", View(0), below, replace(settings, begin_s=9.0))
    assert not (tmp_path / "late.mp4").exists()


def test_the_field_of_a_panorama_is_copied_as_it_is(tmp_path: Path) -> None:
    below = write_video(tmp_path / "below.mp4", [0, 0.1, 0.2], sound=noise(4, 14400), layout="4.0", size=(256, 128))
    Image.fromarray(colour((32, 64), (200, 30, 30))).save(tmp_path / "flat.png")
    path = [Keyframe(0.0, View(-80, 0, 40)), Keyframe(0.2, View(80, 0, 40))]
    made = project(tmp_path / "flat.png", tmp_path / "out.mp4", path, below)
    (heard, _), (own, _) = read_sound(tmp_path / "out.mp4"), read_sound(below)
    assert made.sound == "copied" and torch.equal(heard.waveform, own.waveform)
    assert probe(tmp_path / "out.mp4").audio_tracks[0].tags is not None
    reddest = [int(one[64, :, 0].astype(int).argmax()) for one in frames(tmp_path / "out.mp4")]
    assert reddest == pytest.approx([71, 128, 185], abs=16)


def test_sound_of_a_file_that_no_mp4_holds_is_coded_and_ends_with_the_picture(tmp_path: Path) -> None:
    flat = write_video(tmp_path / "flat.mp4", [0, 0.1, 0.2, 0.3])
    with wav_stream(tmp_path / "field.wav", 4, 48000, 16) as wav:
        wav.add(0.2 * noise(4, 48000))
    made = project(flat, tmp_path / "out.mp4", View(0), settings=ProjectSettings(sound=tmp_path / "field.wav"))
    heard, _ = read_sound(tmp_path / "out.mp4")
    assert made.sound == "ambisonics" and heard.layout == "ambix"
    assert heard.duration_s == pytest.approx(made.duration_s, abs=1e-3)
    silent = project(flat, tmp_path / "out.mp4", View(0), settings=ProjectSettings(sound="none"))
    assert silent.sound == "none" and not probe(tmp_path / "out.mp4").audio_tracks


@pytest.mark.parametrize("packing", ["top-bottom", "left-right"])
def test_both_eyes_get_the_picture(tmp_path: Path, packing: Packing) -> None:
    size, axis = ((128, 128), 0) if packing == "top-bottom" else ((64, 256), 1)
    shade = np.linspace(60, 120, size[1], dtype=np.uint8)[None, :, None].repeat(size[0], 0).repeat(3, 2)
    below = clip_of(tmp_path / "below.mp4", [shade] * 2, packing=packing)
    Image.fromarray(colour((32, 32), (250, 250, 250))).save(tmp_path / "flat.png")
    made = project(tmp_path / "flat.png", tmp_path / "out.mp4", View(0, 0, 60), below)
    eyes = np.split(frames(tmp_path / "out.mp4")[0], 2, axis)
    for eye in eyes:
        assert eye[eye.shape[0] // 2, eye.shape[1] // 2].min() > 235 and eye[4, 4].max() < 130
    assert probe(tmp_path / "out.mp4").spherical.stereo == packing
    assert any("infinitely far" in notice for notice in made.notices)


def test_two_pictures_make_pictures(tmp_path: Path) -> None:
    Image.fromarray(colour((64, 128), (10, 20, 200))).save(tmp_path / "below.png")
    Image.fromarray(colour((32, 32), (250, 200, 0))).save(tmp_path / "flat.png")
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    made = project(tmp_path / "flat.png", out, View(0, 90, 90), tmp_path / "below.png", mask=mask)
    assert (made.width, made.height, made.num_frames) == (128, 64, 1)
    whole, white = np.asarray(Image.open(out)), np.asarray(Image.open(mask))
    assert (whole[0] == (250, 200, 0)).all() and (whole[40:] == (10, 20, 200)).all()
    assert not white[0].any() and (white[40:] == 255).all()


def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    flat = clip_of(tmp_path / "flat.mp4", [numbered_frame(0)] * 2)
    sphere = clip_of(tmp_path / "sphere.mp4", [colour((64, 128), (9, 9, 9))] * 2, packing="mono")
    square = clip_of(tmp_path / "square.mp4", [colour((64, 64), (9, 9, 9))] * 2)
    Image.fromarray(colour((32, 32), (9, 9, 9))).save(tmp_path / "flat.png")
    before = sorted(tmp_path.iterdir())
    for said, change in {
        "field of view of 180 degrees": {"place": View(0, 0, 180)},
        "a pitch of 91 degrees": {"place": View(0, 91)},
        "no keyframes": {"place": ()},
        "room for 0 to": {"settings": ProjectSettings(feather_deg=60)},
        "there is no file": {"flat": tmp_path / "none.mp4"},
        "as its metadata says": {"flat": sphere},
        "looks like a flat picture": {"panorama": square},
        "leave the height out": {"panorama": sphere, "settings": ProjectSettings(height=128)},
        "does not end in .mp4": {"out": tmp_path / "out.avi"},
        "ends in .png": {"flat": tmp_path / "flat.png"},
        "both read and written": {"out": flat},
        "is both": {"mask": tmp_path / "out.mp4"},
        "no sound track": {"settings": ProjectSettings(sound=square)},
    }.items():
        given = {"flat": flat, "out": tmp_path / "out.mp4", "place": View(0, 0, 60), **change}
        with pytest.raises(InputError, match=said):
            project(**given)
        assert sorted(tmp_path.iterdir()) == before, said
    for settings, said in (({"height": 8192}, "16384x8192"), ({"height": 99}, "even"), ({"begin_s": -1.0}, "or later")):
        with pytest.raises(InputError, match=said):
            ProjectSettings(**settings)
