"""Reframing of a clip that is held, and following of maps that are given."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.records import PanoramaClip, Sound, View
from con360.reframing.aim import Follow
from con360.reframing.run import ReframeSettings, reframe
from con360.sound.ambisonics import encode
from con360.viewpoint.keyframes import Keyframe, view_at

RATE = 48000
SMALL = ReframeSettings(size=(32, 32))


def held(count: int = 20, sound: Sound | None = None) -> PanoramaClip:
    """A clip at 10 frames per second whose columns are red by direction and whose frames are green by time."""
    frames = torch.zeros(count, 3, 64, 128)
    frames[:, 0] = torch.linspace(0, 1, 128)
    frames[:, 1] = torch.linspace(0, 1, count)[:, None, None]
    return PanoramaClip(frames, 10.0, sound)


def colours(path: Path) -> np.ndarray:
    """Mean red and green of each frame, `[T, 2]` in [0, 1]."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24").mean((0, 1))[:2] / 255 for f in container.decode(video=0)])


def spot(yaw_deg: float) -> torch.Tensor:
    yaw, pitch = torch.meshgrid(torch.arange(96) * 3.75 - 178.125, 88.125 - torch.arange(48) * 3.75, indexing="xy")
    off = (yaw - yaw_deg + 180) % 360 - 180
    return torch.exp(-0.5 * (off**2 + pitch**2) / 14.0**2)


def test_a_held_clip_is_cut_as_its_file_would_be(tmp_path: Path) -> None:
    foa = encode(0.5 * torch.sin(0.06 * torch.arange(2 * RATE)), 90.0, 0.0)
    clip = held(sound=Sound(foa, RATE, "ambix"))
    made = reframe(clip, tmp_path / "out.mp4", View(90.0), SMALL)
    assert (made.num_frames, made.duration_s, made.sound) == (20, 2.0, "stereo")
    seen = colours(tmp_path / "out.mp4")
    assert np.abs(seen[:, 0] - 0.75).max() < 0.02 and np.abs(seen[:, 1] - np.linspace(0, 1, 20)).max() < 0.02
    left, right = read_sound(tmp_path / "out.mp4")[0].waveform[:, 5000:-5000].square().mean(1).sqrt()
    assert float(left) == pytest.approx(float(right), rel=0.01)


def test_an_excerpt_of_a_held_clip(tmp_path: Path) -> None:
    clip = held(sound=Sound(torch.linspace(-0.5, 0.5, 2 * RATE)[None], RATE))
    settings = ReframeSettings(size=(32, 32), start_s=0.5, duration_s=1.0)
    made = reframe(clip, tmp_path / "out.mp4", View(0.0), settings)
    assert made.num_frames == 10
    assert np.abs(colours(tmp_path / "out.mp4")[:, 1] - np.linspace(0, 1, 20)[5:15]).max() < 0.02
    heard = read_sound(tmp_path / "out.mp4")[0].waveform[0]
    assert len(heard) == RATE and abs(float(heard[RATE // 2])) < 0.02
    with pytest.raises(InputError, match="the clip has no picture at 3 s"):
        reframe(clip, tmp_path / "no.mp4", View(0.0), ReframeSettings(start_s=3.0))


def test_what_a_held_clip_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no frame"):
        reframe(PanoramaClip(torch.zeros(0, 3, 64, 128), 10.0), tmp_path / "no.mp4", View(0.0))
    with pytest.raises(InputError, match="the eye 'left' is for files"):
        reframe(held(), tmp_path / "no.mp4", View(0.0), ReframeSettings(eye="left"))
    clip = held()
    clip.frames[3, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="frame 4 holds values that are not finite"):
        reframe(clip, tmp_path / "no.mp4", View(0.0), SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_painted_map_is_followed_without_looking_at_the_picture(tmp_path: Path) -> None:
    made = reframe(held(), tmp_path / "out.mp4", Follow(1, 60.0, 10.0, spot(-60.0)[None]), SMALL)
    assert made.first_view.yaw_deg == pytest.approx(-60, abs=2)
    assert (made.first_view.fov_deg, made.first_view.roll_deg) == (60.0, 10.0)
    assert made.track.is_still and len(made.track) == 8 and made.notices == ()
    assert np.abs(colours(tmp_path / "out.mp4")[:, 0] - 1 / 3).max() < 0.03


def test_maps_are_spread_over_the_excerpt_and_the_path_is_handed_over(tmp_path: Path) -> None:
    maps = torch.stack([spot(10.0 * i) for i in range(5)])
    made = reframe(held(60), tmp_path / "out.mp4", Follow(maps=maps), SMALL)
    assert "The 5 saliency maps are spread over the 6.00 s of the excerpt." in made.notices
    yaws = [view.yaw_deg for view in made.track.views]
    assert len(yaws) == 24 and yaws == sorted(yaws) and yaws[0] < 5 and yaws[-1] > 35
    for i, view in enumerate(made.track.views):
        assert view_at(made.keyframes, i / 4).yaw_deg == pytest.approx(view.yaw_deg, abs=1.0)
    assert 2 <= len(made.keyframes) <= 12
    again = reframe(held(60), tmp_path / "again.mp4", made.keyframes, SMALL)
    assert again.keyframes == made.keyframes
    one_each = reframe(held(5), tmp_path / "each.mp4", Follow(maps=maps), SMALL)
    assert one_each.notices == ()


def test_maps_that_cannot_be_followed(tmp_path: Path) -> None:
    for maps in (torch.zeros(2, 8, 8), torch.zeros(0, 8, 16), torch.full((1, 8, 16), torch.nan)):
        with pytest.raises(InputError, match="the saliency maps are"):
            reframe(held(), tmp_path / "no.mp4", Follow(maps=maps), SMALL)
    made = reframe(held(), tmp_path / "out.mp4", Follow(maps=torch.zeros(1, 8, 16)), SMALL)
    assert any("Nothing stands out" in notice for notice in made.notices)


def test_one_keyframe_stands_for_a_still_view(tmp_path: Path) -> None:
    view = View(12.345, -5.0, 77.0, 3.0)
    assert reframe(held(), tmp_path / "out.mp4", view, SMALL).keyframes == (Keyframe(0.0, view),)


@pytest.mark.parametrize(
    ("aspect", "size"), [(None, (40, 40)), (16 / 9, (40, 22)), (9 / 16, (22, 40)), (4.0, (40, 16))]
)
def test_the_default_size_takes_a_shape(tmp_path: Path, aspect: float | None, size: tuple[int, int]) -> None:
    made = reframe(held(4), tmp_path / "out.mp4", View(0.0), ReframeSettings(aspect=aspect))
    assert (made.width, made.height) == size == (probe(made.path).width, probe(made.path).height)


def test_an_aspect_ratio_has_limits_and_a_size_has_its_own() -> None:
    with pytest.raises(InputError, match="from 1:4 to 4:1"):
        ReframeSettings(aspect=5.0)
    with pytest.raises(InputError, match="not both"):
        ReframeSettings(size=(32, 32), aspect=1.0)


def test_maps_of_a_file(tmp_path: Path) -> None:
    with clip_stream(tmp_path / "in.mp4", (128, 64), Fraction(1, 10), 10, None) as clip:
        for i in range(20):
            clip.add_frame(np.full((64, 128, 3), 90 + i, np.uint8), i)
    maps = torch.stack([spot(yaw) for yaw in (100.0, 100.0, 100.0)])
    made = reframe(tmp_path / "in.mp4", tmp_path / "out.mp4", Follow(maps=maps), SMALL)
    assert made.first_view.yaw_deg == pytest.approx(100, abs=2)
    assert any("3 saliency maps are spread over the 2.00 s" in notice for notice in made.notices)
