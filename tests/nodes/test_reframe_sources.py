"""Reframe 360° Video from a VIDEO or IMAGE, along a mask, and the path that it hands over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.sound.ambisonics import encode
from con360.viewpoint.keyframes import keyframes_from_json, view_at
from tools.host import Host
from tools.host.modules import installed
from tools.host.v3 import VideoComponents, VideoFromComponents, VideoFromFile

pytestmark = pytest.mark.standin

RATE = 48000
REQUIRED = {
    "video": "[built-in sample]", "mode": "yaw and pitch", "rank": 1, "yaw": 0.0, "pitch": 0.0, "fov": 90.0,
    "width": 32, "height": 32, "start": 0.0, "duration": 0.0, "sound": "auto",
}  # fmt: skip


@pytest.fixture
def reframe(host: Host, pack: Any) -> Any:
    """`reframe(clip=..., yaw=...)`: outputs (path, notices, keyframes) and what the panel is shown."""

    def run(**inputs: Any) -> tuple[Path, str, str, dict[str, Any]]:
        with installed(host._modules):
            made = pack("nodes.reframe").Reframe360Video.execute(**{**REQUIRED, **inputs})
        video, notices, keyframes = made.args
        return Path(video.get_stream_source()), notices, keyframes, made.ui["con360"][0]

    return run


def write_footage(path: Path) -> Path:
    """Two seconds, brighter by the frame, with a tone at the right."""
    with clip_stream(path, (128, 64), Fraction(1, 10), 10, (4, RATE)) as clip:
        for i in range(20):
            clip.add_frame(np.full((64, 128, 3), 60 + 8 * i, np.uint8), i)
        clip.add_sound(encode(0.5 * torch.sin(torch.arange(2 * RATE) * 0.06), 90.0, 0.0).numpy())
    return path


def levels(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").mean().item() for frame in container.decode(video=0)]


def spot(yaw_deg: float, rows: int = 48) -> torch.Tensor:
    across, down = (torch.arange(2 * rows) + 0.5) * 180 / rows - 180, 90 - (torch.arange(rows) + 0.5) * 180 / rows
    off = (across - yaw_deg + 180) % 360 - 180
    return torch.exp(-0.5 * (off**2 + down[:, None] ** 2) / 14.0**2)


def test_a_clip_on_disk_is_streamed_with_its_sound(reframe: Any, host: Host) -> None:
    source = write_footage(host.base / "input" / "linked.mp4")
    path, _, keyframes, shown = reframe(clip=VideoFromFile(str(source)), yaw=90.0, roll=10.0)
    assert len(levels(path)) == 20 and read_sound(path)[0].layout == "stereo"
    assert (shown["linked"], shown["sample"]["filename"], shown["sample"]["type"]) == ("clip", "linked.mp4", "input")
    assert shown["ambisonic"] and shown["found"]["channels"] == 4
    assert shown["views"] == [[90.0, 0.0, 90.0, 10.0]] * 8 and shown["path_fps"] == 4.0
    assert keyframes == '[{"time": 0.0, "yaw": 90.0, "pitch": 0.0, "fov": 90.0, "roll": 10.0}]'


class Trimmed(VideoFromFile):
    """A VIDEO as newer cores trim it."""

    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.5, 1.0


class PrivatelyTrimmed(VideoFromFile):
    """A VIDEO of the cores that trimmed before they told it."""

    _VideoFromFile__start_time, _VideoFromFile__duration = -1.5, 1.0

    def _get_raw_duration(self) -> float:
        return 2.0


@pytest.mark.parametrize("kind", [Trimmed, PrivatelyTrimmed])
def test_a_trimmed_clip_stays_trimmed(reframe: Any, tmp_path: Path, kind: Any) -> None:
    clip = kind(str(write_footage(tmp_path / "in.mp4")))
    path, *_, shown = reframe(clip=clip)
    assert levels(path) == pytest.approx([60 + 8 * i for i in range(5, 15)], abs=3)
    assert "sample" not in shown, "the file lies outside ComfyUI's folders"
    assert levels(reframe(clip=clip, start=0.3)[0]) == pytest.approx([60 + 8 * i for i in range(8, 15)], abs=3)
    assert len(levels(reframe(clip=clip, start=0.3, duration=0.2)[0])) == 2
    with pytest.raises(Exception, match="a start of 1 s was asked for, and the clip lasts 1 s"):
        reframe(clip=clip, start=1.0)


def test_frames_with_sound_are_cut_as_a_file_is(reframe: Any) -> None:
    frames = torch.linspace(0.2, 0.8, 8)[:, None, None, None].expand(-1, 64, 128, 3)
    foa = encode(0.5 * torch.sin(torch.arange(2 * RATE) * 0.06), 90.0, 0.0)
    audio = {"waveform": foa[None], "sample_rate": RATE}
    path, _, _, shown = reframe(frames=frames, audio=audio, fps=4.0, yaw=90.0)
    assert levels(path) == pytest.approx((torch.linspace(0.2, 0.8, 8) * 255).tolist(), abs=3)
    left, right = read_sound(path)[0].waveform[:, 5000:-5000].square().mean(1).sqrt().tolist()
    assert left == pytest.approx(right, rel=0.02) and probe(path).fps == 4.0
    assert shown["linked"] == "frames" and shown["panorama"]["ambisonic"]


def test_a_clip_of_components_is_held(reframe: Any) -> None:
    parts = VideoComponents(images=torch.full((6, 64, 128, 3), 0.5), audio=None, frame_rate=Fraction(12))
    path, *_ = reframe(clip=VideoFromComponents(parts), aspect="9:16", width=0, height=0)
    info = probe(path)
    assert (info.fps, info.width, info.height, info.audio_tracks) == (12.0, 22, 40, ())


def test_a_painted_mask_is_followed(reframe: Any) -> None:
    frames = torch.full((8, 64, 128, 3), 0.5)
    *_, keyframes, shown = reframe(
        frames=frames, fps=4.0, mode="follow", saliency=spot(120.0)[None], roll=5.0, fov=70.0
    )
    (key,) = keyframes_from_json(keyframes)
    assert key.view.yaw_deg == pytest.approx(120, abs=2) and (key.view.fov_deg, key.view.roll_deg) == (70.0, 5.0)
    assert {tuple(view[2:]) for view in shown["views"]} == {(70.0, 5.0)}


def test_masks_of_another_count_are_spread_and_the_path_is_handed_over(reframe: Any) -> None:
    frames, maps = torch.full((24, 64, 128, 3), 0.5), torch.stack([spot(12.0 * i) for i in range(6)])
    _, notices, keyframes, shown = reframe(frames=frames, fps=4.0, mode="follow", saliency=maps)
    assert shown["keyframes"] == keyframes and shown["excerpt"] == [0.0, 0.0]
    assert shown["asked"] == {"video": "[built-in sample]", "mode": "follow", "rank": 1, "start": 0.0}
    assert "The 6 saliency maps are spread over the 6.00 s of the excerpt." in notices
    path = keyframes_from_json(keyframes)
    for i, (yaw, *_) in enumerate(shown["views"]):
        assert view_at(path, i / shown["path_fps"]).yaw_deg == pytest.approx(yaw, abs=1.0)
    again = reframe(frames=frames, fps=4.0, mode="keyframes", keyframes=keyframes)
    assert again[2] == keyframes


def test_a_long_path_is_told_thinly(pack: Any, host: Host) -> None:
    from con360.records import View, ViewTrack

    with installed(host._modules):
        told = pack("nodes.reframe")._path_shown(ViewTrack(tuple(View(float(i % 90)) for i in range(5000))))
    assert told["path_fps"] == 4 / 3 and len(told["views"]) == 1667 and told["views"][1][0] == 3.0


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"clip": "a clip", "frames": torch.zeros(1, 8, 16, 3)}, "clip and frames are both connected"),
        ({"audio": {}}, "no frames are connected"), ({"aspect": "7:5"}, "the aspect ratio '7:5' is not available"),
        ({"frames": torch.zeros(4, 8, 16)}, "the image input has shape"),
        ({"frames": torch.full((4, 8, 16, 3), torch.nan)}, "the image input holds values that are not finite"),
        ({"frames": torch.zeros(1, 64, 128, 3), "eye": "left"}, "the eye 'left' is for files"),
        ({"mode": "follow", "method": "gone.pt"}, "the saliency method 'gone.pt' is not available"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_named(reframe: Any, host: Host, inputs: dict[str, Any], words: str) -> None:
    before = {path.name for path in (host.base / "temp").glob("con360_reframe*")}
    with pytest.raises(Exception, match=words):
        reframe(**inputs)
    assert {path.name for path in (host.base / "temp").glob("con360_reframe*")} == before
