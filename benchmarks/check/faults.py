"""Put one known fault each into a sound clip.

Other projections are made by FFmpeg's v360. Files are written by the package's own writers, so that a fault is the only
difference from a good file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from con360.geometry.perspective import erp_to_perspective
from con360.media.spherical_tags import Packing, tag_file
from con360.media.writer import write_clip, write_wav
from con360.records import Sound, View, ViewTrack
from con360.reframing.turning import Turner
from con360.sound.channels import FUMA

from .base import FPS, Base, third_order

Pictures = np.ndarray
Edit = Callable[[Pictures], Pictures]
Mix = Callable[[torch.Tensor], torch.Tensor]
# From SN3D in ACN order to FuMa's W, X, Y, Z.
TO_FUMA = [next((acn, 1 / factor) for acn, (at, factor) in enumerate(FUMA[:4]) if at == i) for i in range(4)]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        name: in words. finding: of the check that should tell it.
        write: writes the file of a base; returns its path (the suffix may differ).
    """

    name: str
    finding: str
    write: Callable[[Base, Path], Path]


def good_file(base: Base, path: Path) -> Path:
    """Write a base without a fault."""
    return _clip(base.frames, base.sound, path)


def _clip(
    frames: Pictures, sound: Sound | None, path: Path, panorama: Packing | None = "mono", changed: bool = False
) -> Path:  # fmt: skip
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    values = torch.from_numpy(np.ascontiguousarray(frames[:, :height, :width])).movedim(-1, 1).float() / 255
    path = path.with_suffix(".mp4")
    write_clip(path, values, FPS, sound, panorama=panorama)
    return path


def _seen(name: str, finding: str, edit: Edit, panorama: Packing | None = "mono") -> Fault:
    return Fault(name, finding, lambda base, path: _clip(edit(base.frames), base.sound, path, panorama))


def _heard(name: str, finding: str, mix: Mix) -> Fault:
    def write(base: Base, path: Path) -> Path:
        return _clip(base.frames, replace(base.sound, waveform=mix(base.sound.waveform)), path)

    return Fault(name, finding, write)


# Pictures -------------------------------------------------------------------------------------------------------------


def _resized(frames: Pictures, width: int, height: int) -> Pictures:
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])


def _stretched(frames: Pictures, part: tuple[slice, slice]) -> Pictures:
    """Cut out a part and stretch it to the whole picture."""
    height, width = frames.shape[1:3]
    return _resized(np.ascontiguousarray(frames[:, part[0], part[1]]), width, height)


def _cut_rows(first: float, last: float) -> Edit:
    def edit(frames: Pictures) -> Pictures:
        height = frames.shape[1]
        return _stretched(frames, (slice(round(first * height), round(last * height)), slice(None)))

    return edit


def _cut_columns(first: float, last: float) -> Edit:
    def edit(frames: Pictures) -> Pictures:
        width = frames.shape[2]
        return _stretched(frames, (slice(None), slice(round(first * width), round(last * width))))

    return edit


def _flat(frames: Pictures) -> Pictures:
    values = torch.from_numpy(frames).movedim(-1, 1).float() / 255
    track = ViewTrack(tuple(View(20.0, -5.0, 80.0) for _ in frames), 16 / 9)
    view = erp_to_perspective(values, track, 480)
    return (view.clamp(0, 1).movedim(1, -1) * 255).round().to(torch.uint8).numpy()


def _framed(frames: Pictures) -> Pictures:
    bar = frames.shape[2] * 9 // 16 - frames.shape[1]
    return np.pad(frames, ((0, 0), (bar // 2, bar // 2), (0, 0), (0, 0)))


def _projected(output: str, size: tuple[int, int]) -> Edit:
    """Project with v360; `size` in heights of the panorama."""

    def edit(frames: Pictures) -> Pictures:
        height = frames.shape[1]
        return v360(frames, f"input=e:output={output}:w={size[0] * height // 2}:h={size[1] * height // 2}")

    return edit


def v360(frames: Pictures, options: str) -> Pictures:
    """Run FFmpeg's v360 on `[T, h, w, 3]` uint8."""
    import av

    graph = av.filter.Graph()
    height, width = frames.shape[1:3]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, FPS))
    last = source
    for name, value in (("v360", options), ("format", "rgb24"), ("buffersink", "")):
        node = graph.add(name, value) if value else graph.add(name)
        last.link_to(node)
        last = node
    graph.configure()
    made = []
    for i, frame in enumerate(frames):
        given = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        given.pts = i
        source.push(given)
        made.append(last.pull().to_ndarray(format="rgb24"))
    return np.stack(made)


def _fisheye(circles: int) -> Edit:
    """Project to circles beside each other, with black around them as lenses leave it."""
    project = _projected("fisheye:h_fov=185:v_fov=185", (2, 2))

    def edit(frames: Pictures) -> Pictures:
        back = np.roll(frames, frames.shape[2] // 2, 2)
        both = [project(half) for half in (frames, back)[:circles]]
        side = both[0].shape[1]
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        inside = (np.hypot(x, y) < side / 2)[None, ..., None]
        return np.concatenate([half * inside for half in both], 2)

    return edit


def _two_eyes(axis: int, squeezed: bool = False) -> Edit:
    """Set a second eye below or beside the first: the same picture, moved by 1 % of its width."""

    def edit(frames: Pictures) -> Pictures:
        both = np.concatenate((frames, np.roll(frames, frames.shape[2] // 100, 2)), axis)
        return _resized(both, frames.shape[2], frames.shape[1]) if squeezed else both

    return edit


def _turned(pitch: float, roll: float) -> Edit:
    def edit(frames: Pictures) -> Pictures:
        turner = Turner("mono")
        return np.stack([turner.picture(frame, View(0.0, pitch, roll_deg=roll)) for frame in frames])

    return edit


def _still(frames: Pictures) -> Pictures:
    return np.repeat(frames[:1], len(frames), 0)


def _tilt_said(base: Base, path: Path) -> Path:
    path = _clip(base.frames, base.sound, path, None)
    tag_file(path, panorama="mono", pose_deg=(0.0, 12.0, -9.0))
    return path


def _turn_said(base: Base, path: Path) -> Path:
    """Write a quarter turn into the track header's matrix, of the first track, which is the picture's."""
    path = good_file(base, path)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def _cut_off(base: Base, path: Path) -> Path:
    path = good_file(base, path)
    data = path.read_bytes()
    # The index lies at the end: bring the loss into the pictures, as a broken download of a streamed file has it.
    start = data.index(b"mdat") + 4
    path.write_bytes(data[: start + 4000] + bytes(len(data) // 2) + data[start + 4000 + len(data) // 2 :])
    return path


# Sounds ---------------------------------------------------------------------------------------------------------------


def fuma(field: torch.Tensor) -> torch.Tensor:
    """Write first-order AmbiX as FuMa."""
    return torch.stack([field[acn] * gain for acn, gain in TO_FUMA])


def n3d(field: torch.Tensor) -> torch.Tensor:
    """Write first-order AmbiX as N3D."""
    return field * torch.tensor([[1.0], [3**0.5], [3**0.5], [3**0.5]])


def _without(*lost: int) -> Mix:
    def mix(field: torch.Tensor) -> torch.Tensor:
        return field * torch.tensor([[float(i not in lost)] for i in range(4)])

    return mix


def _loudspeakers(field: torch.Tensor) -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randn(4, field.shape[1], generator=g) * 0.05


def _wav(name: str, finding: str, make: Callable[[], torch.Tensor]) -> Fault:
    def write(base: Base, path: Path) -> Path:
        path = path.with_suffix(".wav")
        write_wav(path, Sound(make(), 48000, "other"))
        return path

    return Fault(name, finding, write)


def _with_pair(left: float, right: float) -> torch.Tensor:
    field = third_order()
    pair = torch.stack((left * field[0], right * field[0].roll(99)))
    return torch.cat((field[:4], pair))


FAULTS = (
    _seen("cut at one side", "seam", _cut_columns(0.12, 1.0)),
    _seen("front half alone, as of VR180", "seam", _cut_columns(0.25, 0.75)),
    _seen("cut above and below", "poles", _cut_rows(0.32, 0.68)),
    _seen("cut below", "poles", _cut_rows(0.0, 0.68)),
    _seen("a flat view", "projection", _flat, None),
    _seen("a flat view said to be 360°", "metadata", _flat),
    _seen("cubemap, 3 by 2", "projection", _projected("c3x2", (3, 2)), None),
    _seen("cubemap, 6 by 1", "projection", _projected("c6x1", (6, 1)), None),
    _seen("equi-angular cubemap", "projection", _projected("eac", (3, 2)), None),
    _seen("cubemap said to be equirectangular", "metadata", _projected("c3x2", (3, 2))),
    _seen("one fisheye", "projection", _fisheye(1), None),
    _seen("two fisheyes", "projection", _fisheye(2), None),
    _seen("black bars above and below", "aspect", _framed),
    _seen("square", "aspect", lambda frames: _resized(frames, frames.shape[1], frames.shape[1]), None),
    _seen("two eyes, one above the other, unsaid", "stereo", _two_eyes(1), None),
    _seen("two eyes beside each other, unsaid", "stereo", _two_eyes(2), None),
    _seen("two squeezed eyes in 2:1, said to be one", "metadata", _two_eyes(1, True)),
    _seen("one eye, said to be two", "metadata", lambda frames: frames, "top-bottom"),
    _seen("rolled by 14°", "horizon", _turned(0.0, 14.0)),
    _seen("pitched by 10°", "horizon", _turned(10.0, 0.0)),
    Fault("level, said to be tilted", "metadata", _tilt_said),
    Fault("upright, said to be turned by 90°", "metadata", _turn_said),
    _seen("a still picture", "motion", _still),
    _seen("black", "motion", np.zeros_like),
    Fault("media data lost", "file", _cut_off),
    Fault("no sound", "sound", lambda base, path: _clip(base.frames, None, path)),
    _heard("silent", "sound", torch.zeros_like),
    _heard("mono in four channels", "channels", lambda field: field[:1].expand(4, -1)),
    _heard("stereo, copied into four", "channels", lambda field: (field[:1] + field[1:2] * _sides()).repeat(2, 1)),
    _heard("only W", "channels", _without(1, 2, 3)),
    _heard("W lost", "channels", _without(0)),
    _heard("Y lost", "channels", _without(1)),
    _heard("FuMa said to be AmbiX", "order", fuma),
    _heard("N3D said to be AmbiX", "order", n3d),
    _heard("four loudspeakers said to be AmbiX", "order", _loudspeakers),
    _wav("eight of sixteen channels", "order", lambda: third_order()[:8]),
    _wav("field and pair, unsaid", "order", lambda: _with_pair(0.5, 0.5)),
)


def _sides() -> torch.Tensor:
    return torch.tensor([[1.0], [-1.0]])
