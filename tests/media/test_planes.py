"""Planes of luma and colour: what is taken as planes, and that they show what the pixels show."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from con360.media.info import probe
from con360.media.painting import upright_pixels
from con360.media.planes import Planes, frame_of, planes_of
from con360.media.reader import PanoramaStream
from con360.records import View
from con360.reframing.camera import Camera

HEIGHT = 128


def picture() -> np.ndarray:
    """Draw a smooth panorama `[128, 256, 3]` with a colour for each direction."""
    across, down = (np.arange(2 * HEIGHT) + 0.5) / HEIGHT * np.pi, (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    yaw, pitch = np.meshgrid(across - np.pi, np.pi / 2 - down)
    levels = np.stack((np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)), -1)
    return ((levels + 1) * 90 + 30).round().astype(np.uint8)


def write(path: Path, kind: str = "yuv420p", matrix: int = 1, full: bool = False) -> Path:
    """Write two frames of the panorama without loss, in a pixel format, matrix and range."""
    ranges = av.video.reformatter.ColorRange
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 2 * HEIGHT, HEIGHT, kind
        video.codec_context.colorspace, video.codec_context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
        for _ in range(2):
            shown = frame.reformat(
                format=kind, dst_colorspace=matrix, dst_color_range=ranges.JPEG if full else ranges.MPEG,
                interpolation=0x4 | 0x40000 | 0x2000,
            )  # fmt: skip
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
    return path


def frame_in(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize(("kind", "full"), [("yuv420p", False), ("yuv420p", True), ("yuv420p10le", False)])
def test_a_view_through_planes_is_the_view_through_pixels(tmp_path: Path, kind: str, full: bool) -> None:
    path, view, camera = write(tmp_path / "in.mkv", kind, full=full), View(170.0, 30.0, 80.0, 10.0), Camera(64, 48)
    planes = planes_of(frame_in(path), probe(path))
    assert planes is not None
    shown = frame_of(camera.picture(planes, view))
    shown.colorspace, shown.color_range = 1, 1
    found = upright_pixels(shown, probe(path)).astype(int)
    wanted = camera.picture(upright_pixels(frame_in(path), probe(path)), view)
    assert np.abs(found - wanted).mean() < 1.0
    assert np.abs(found - wanted).max() <= 4


def test_the_stream_gives_planes_where_it_can(tmp_path: Path) -> None:
    for kind, matrix, expected in (("yuv420p", 1, Planes), ("yuv420p", 6, np.ndarray), ("yuv444p", 1, np.ndarray)):
        stream = PanoramaStream(probe(write(tmp_path / "in.mkv", kind, matrix)))
        shown = [give() for _, give in stream.stored_frames()]
        assert [type(one) for one in shown] == [expected] * 2
        assert shown[0].shape[:2] == (HEIGHT, 2 * HEIGHT)


def test_one_eye_is_cut_out_of_planes(tmp_path: Path) -> None:
    path = write(tmp_path / "in.mkv")
    stream = PanoramaStream(replace(probe(path)), eye="right")
    pixels, planes = (next(iter(give(0.0, 1.0)))[1]() for give in (stream.frames, stream.stored_frames))
    assert planes.shape == pixels.shape[:2] == (HEIGHT // 2, 2 * HEIGHT)
    assert planes.blue.shape == (HEIGHT // 4, HEIGHT)


def test_planes_are_cut_where_colour_can_be() -> None:
    planes = Planes(*(np.zeros(shape, np.uint8) for shape in ((8, 16), (4, 8), (4, 8))))
    assert planes.part(slice(1, 8), slice(0, 16)) is None
    part = planes.part(slice(4, 8), slice(0, 8))
    assert part is not None and [p.shape for p in (part.luma, part.blue)] == [(4, 8), (2, 4)]


@pytest.mark.parametrize(
    ("bits", "full", "luma", "colour"),
    [(8, True, {0: 16, 255: 235}, {0: 16, 255: 240, 128: 128}), (10, False, {64: 16, 940: 235}, {64: 16, 512: 128}),
     (10, True, {0: 16, 1023: 235}, {0: 16, 512: 128})],
)  # fmt: skip
def test_black_white_and_grey_keep_their_places(bits: int, full: bool, luma: dict, colour: dict) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    y, c = (np.array([list(levels)], kind) for levels in (luma, colour))
    found = Planes(y, c, c, bits, full).limited()
    assert [plane.dtype for plane in found] == [np.uint8] * 3
    assert found[0].tolist() == [list(luma.values())]
    assert found[1].tolist() == found[2].tolist() == [list(colour.values())]


def test_a_view_by_hand_is_reframed_without_torch(tmp_path: Path) -> None:
    """Torch takes a second and 450 MB before the first frame."""
    code = """
import sys
from con360.cli import main
assert main(["reframe", sys.argv[1], "-o", sys.argv[2], "--yaw", "20", "--size", "64x48", "--sound", "none"]) == 0
print(sorted({"torch", "scipy"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(write(tmp_path / "in.mkv")), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
