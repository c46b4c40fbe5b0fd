"""Project a flat video or picture onto a panorama, at its place, with a mask of where it does not lie.

Needs no weights. Takes files of any length: memory holds a frame of each file.

Convention: the mask is white where the picture does not lie: there a model that paints panoramas is to paint, as
inpainting pipelines expect it. Onto black, the picture keeps its colours up to its edge, and the mask alone is
feathered: colours that were darkened would leave a dark rim around what is painted. Onto a panorama, both are blended
by the feather.
"""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ..choices import Eye
from ..errors import InputError
from ..geometry.degrees import wrap_yaw_deg
from ..media.coders import PictureCoding, check_codec
from ..media.files import atomic_path, check_not_read, check_writable
from ..media.flat import FlatStream, Shown
from ..media.info import MIN_HEIGHT_PX, MediaInfo, probe
from ..media.painting import Painter, picture_pixels, pixels_of
from ..media.planes import Planes
from ..media.reader import PanoramaStream, check_picture
from ..media.spherical import LEVEL
from ..media.spherical_tags import Packing, tag_file
from ..media.unfolding import eye_parts
from ..media.writer import ClipStream, as_planes, check_clip_path, clip_stream, write_png
from ..records import Progress, View
from ..viewpoint.keyframes import view_at
from .onto_sphere import Projector, check_feather
from .project_frames import DEFAULT_FEATHER_DEG, Place, check_height, checked_views, default_height, pixels_to_one
from .project_sound import add_sound, is_ambisonic
from .run import Job, Shot
from .sound import Heard, choose_mix

SILENT = "none"


@dataclass(frozen=True)
class ProjectSettings:
    """Choose edge, size, time and sound of a projection.

    Args:
        feather_deg: angle over which the picture's edge fades, inside the picture.
        height: rows of a black panorama, twice as many columns; None makes it as fine as the picture is at its middle.
        begin_s: time of the panorama at which the flat video begins.
        sound: a file whose sound the result takes, as long as its picture; "none"; or None: the panorama's own, and
            where that is black or a picture, the flat video's.
        eye: of a stereo panorama, as in `read_panorama`; None keeps both, each with the picture.
        coding: codec and quality of both files.

    Raises:
        InputError: a height or time that cannot be used.
    """

    feather_deg: float = DEFAULT_FEATHER_DEG
    height: int | None = None
    begin_s: float = 0.0
    sound: str | os.PathLike[str] | None = None
    eye: Eye | None = None
    coding: PictureCoding = PictureCoding()

    def __post_init__(self) -> None:
        if self.height is not None:
            check_height(self.height)
        if not 0 <= self.begin_s < math.inf:
            raise InputError(f"a beginning at {self.begin_s:g} s was asked for; it must be 0 or later.")


@dataclass(frozen=True)
class Projected:
    """Facts about the files that were written.

    Args:
        mask: None where none was asked for.
        num_frames: 1 for a picture; duration_s is 0 then.
        sound: "copied", "none", or as in `Levelled.sound` where it had to be coded again.
        notices: sentences for people.
    """

    path: Path
    mask: Path | None
    width: int
    height: int
    num_frames: int
    duration_s: float
    sound: str
    notices: tuple[str, ...]


def project(
    flat: str | os.PathLike[str], out: str | os.PathLike[str], place: Place,
    panorama: str | os.PathLike[str] | None = None, settings: ProjectSettings | None = None, *,
    mask: str | os.PathLike[str] | None = None, progress: Progress | None = None,
) -> Projected:  # fmt: skip
    """Lay a flat video or picture onto a panorama at its place, and write it as a 360° file.

    Convention: the module's text. A panorama that is a video gives the frame times: each of its frames shows what the
    flat video shows then. Else the flat video gives them. Two still pictures give a PNG.

    Args:
        flat: a video or picture of any shape. out: an MP4, or a PNG where both are still.
        place: where its middle lies, how far it spans (longer side) and how it leans; or keyframes, in seconds of the
            result.
        panorama: an equirectangular video or picture; None is black.
        settings: edge, size, time and sound; None takes the defaults.
        mask: file for the mask, of the same kind as `out`.
        progress: told of each frame; may raise to cancel, which leaves no file.

    Raises:
        InputError: a file, place or option cannot be used.
    """
    settings, views = settings or ProjectSettings(), checked_views(place)
    picture, base = FlatStream(probe(flat)), None if panorama is None else probe(panorama)
    if picture.info.kind == "sound":
        raise InputError(f"{picture.info.path.name} has no picture, only sound; give a video or a picture.")
    for view in dict.fromkeys(views):
        check_feather(settings.feather_deg, view, picture.info.aspect)
    heard = _heard(picture, base, settings)
    outs = [Path(path) for path in (out, mask) if path is not None]
    read = [info.path for info in (picture.info, base, None if heard is None else heard.info) if info is not None]
    still = picture.info.kind == "picture" and (base is None or base.kind == "picture")
    _check_outs(outs, read, still)
    check_codec(settings.coding.codec)
    work = _Work(picture, base, place, settings)
    return _write_picture(work, outs) if still else _write_clip(work, outs, heard, progress)


def _heard(picture: FlatStream, base: MediaInfo | None, settings: ProjectSettings) -> PanoramaStream | None:
    """The stream whose sound the result takes; None where it is to have none."""
    if settings.sound == SILENT:
        return None
    if settings.sound is None:
        return picture if base is None or base.kind == "picture" else SoundStream(base)
    stream = SoundStream(probe(settings.sound))
    if stream.track is None:
        raise InputError(f"{stream.info.path.name} has no sound track that can be read; choose another file or 'none'.")
    return stream


class SoundStream(PanoramaStream):
    """Stream the sound of any file; its picture does not matter."""

    def __post_init__(self) -> None:
        self.end_s, self.ended = 0.0, False


def _check_outs(outs: list[Path], read: list[Path], still: bool) -> None:
    for i, out in enumerate(outs):
        if still and out.suffix.lower() != ".png":
            raise InputError(
                f"the result is a still picture, and {out.name} is none; give it a name that ends in .png."
            )
        (check_writable if still else check_clip_path)(out)
        check_not_read(out, [*read, *outs[:i]])


class _Work:
    """Draw frame after frame of the result and of its mask."""

    def __init__(self, picture: FlatStream, base: MediaInfo | None, place: Place, settings: ProjectSettings) -> None:
        self.picture, self.base, self.place, self.settings = picture, base, place, settings
        self._projector = Projector(picture.info.aspect, settings.feather_deg, blend=base is not None)
        self._shown = Shown(picture, settings.begin_s)
        self.stream: PanoramaStream | None = None
        self.pixels: np.ndarray | None = None
        self.said, self.packing, self.seen = list[str](), cast(Packing, "mono"), 0
        if base is None:
            longer, finest = max(picture.info.width, picture.info.height), min(v.fov_deg for v in checked_views(place))
            height = check_height(settings.height or default_height(longer, finest))
            self.pixels = np.zeros((height, 2 * height, 3), np.uint8)
        elif settings.height is not None:
            raise InputError("the panorama has its own height; leave the height out, or leave the panorama out.")
        elif base.kind == "picture":
            check_picture(base, settings.eye)
            painter = Painter(base, MIN_HEIGHT_PX, settings.eye, self.said, both_eyes=True)
            self.pixels, self.packing = painter.part(picture_pixels(base)), painter.packing
        else:
            self.stream = PanoramaStream(base, settings.eye, both_eyes=True)

    def view(self, time_s: float) -> View:
        """The place at a time."""
        view = self.place if isinstance(self.place, View) else view_at(self.place, time_s)
        return replace(view, yaw_deg=float(wrap_yaw_deg(view.yaw_deg)))

    def frame(self, shot: Shot, still: Planes | None) -> tuple[Planes, View | None]:
        """Draw the panorama with the picture; say where the picture lies, None where it does not.

        Args:
            shot: a frame of the panorama or, where that is `still`, of the flat video.
        """
        if still is None:
            assert self.stream is not None  # its first pixels were asked for, which settles the packing
            self.packing = self.stream.packing
            whole, seen = as_planes(shot.pixels), self._shown.at(shot.time_s)
        else:
            whole, seen = still, as_planes(shot.pixels)
        if seen is None:
            return whole, None
        self.seen, view = self.seen + 1, self.view(shot.time_s)
        if self.packing == "mono":
            return self._projector.lay(whole, seen, view), view
        # Colour has no half samples, by which an eye of odd size would begin.
        return as_planes(self.lay(pixels_of(whole), pixels_of(seen), view)), view

    def lay(self, whole: np.ndarray, seen: np.ndarray, view: View) -> np.ndarray:
        """Lay a picture into both eyes, or the one that is there, of `[H, W, 3]` uint8."""
        laid = whole.copy()
        for part in eye_parts(whole.shape, self.packing):
            laid[part] = self._projector.lay(whole[part], seen, view)
        return laid

    def mask(self, view: View | None, height: int, width: int) -> np.ndarray:
        """The mask of a place, `[H, W]` float32: 1 where no picture lies."""
        mask = np.ones((height, width), np.float32)
        if view is not None:
            for part in eye_parts(mask.shape, self.packing):
                mask[part] -= self._projector.weight(view, *mask[part].shape)
        return mask

    def notices(self, columns: int) -> tuple[str, ...]:
        """Say what is lost by sizes, rates and lengths that differ."""
        info, said = self.picture.info, []
        longer, widest = max(info.width, info.height), max(view.fov_deg for view in checked_views(self.place))
        share = pixels_to_one(columns // (2 if self.packing == "left-right" else 1), longer, widest)
        if share < 0.99:
            said.append(
                f"the panorama has {share:.2g} pixels for each of {info.path.name}, along one side: fine detail is lost"
            )
        if self.packing != "mono":
            said.append("both eyes see the picture in the same direction: it lies infinitely far away")
        if self.stream is not None and info.kind == "video":
            said += _time_notices(info, self.stream.info, self.settings.begin_s)
        return tuple(said)


def _time_notices(flat: MediaInfo, panorama: MediaInfo, begin_s: float) -> list[str]:
    said = []
    if flat.fps and panorama.fps and abs(flat.fps - panorama.fps) > 0.01:
        said.append(
            f"the flat video has {flat.fps:.4g} frames per second and the panorama {panorama.fps:.4g}: each frame of "
            f"the panorama shows the one of its time"
        )
    if flat.duration_s and panorama.duration_s:
        end_s, frame_s = begin_s + flat.duration_s, 1 / (panorama.fps or 25)
        lasts = f"the flat video ends at {end_s:.2f} s and the panorama at {panorama.duration_s:.2f} s"
        if end_s < panorama.duration_s - frame_s:
            said.append(f"{lasts}: from there on, the panorama stands alone")
        if end_s > panorama.duration_s + frame_s:
            said.append(f"{lasts}: the rest is left out")
    return said


def _write_picture(work: _Work, outs: list[Path]) -> Projected:
    assert work.pixels is not None  # both are still
    view, (height, width) = work.view(0.0), work.pixels.shape[:2]
    laid = work.lay(work.pixels, picture_pixels(work.picture.info), view)
    white = np.repeat(np.rint(255 * work.mask(view, height, width)).astype(np.uint8)[..., None], 3, -1)
    with ExitStack() as stack:
        for out, pixels in zip([stack.enter_context(atomic_path(path)) for path in outs], (laid, white), strict=False):
            write_png(out, torch.from_numpy(pixels).permute(2, 0, 1))
    said = (*work.picture.notices, *work.said, *work.notices(width))
    return Projected(outs[0], outs[1] if outs[1:] else None, width, height, 1, 0.0, "none", _sentences(said))


def _write_clip(
    work: _Work, outs: list[Path], heard: PanoramaStream | None, progress: Progress | None
) -> Projected:  # fmt: skip
    job = Job(work.stream or work.picture, 0.0, math.inf, None, progress, "projecting")
    shape, shots = job.shots()
    still = None if work.pixels is None else as_planes(work.pixels)
    height, width = (side // 2 * 2 for side in (shape if still is None else still.shape))
    stream = partial(clip_stream, size=(width, height), time_base=job.time_base, fps=job.rate,
                     coding=work.settings.coding)  # fmt: skip
    pose = LEVEL if work.base is None else work.base.spherical.pose_deg
    with ExitStack() as stack:
        out, *masks = [stack.enter_context(atomic_path(path)) for path in outs]
        # In the result's own folder, which has the room that is asked for.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".", dir=out.parent))
        silent = Path(folder) / outs[0].name
        with ExitStack() as pictures:
            clip, *others = [pictures.enter_context(stream(path)) for path in (silent, *masks)]
            nothing = Heard(iter(()), choose_mix(job.stream, "none"), 1.0, clip)
            masks_of = _Masks(work, others)

            def draw(shot: Shot) -> Planes:
                laid, view = work.frame(shot, still)
                masks_of.add(view, laid.shape, shot.tick)
                return laid

            job.write(shots, clip, nothing, draw)
        _check_seen(work)
        # Sound of the clip itself may outlast its picture.
        stop_s = math.inf if work.settings.sound is None else job.end_s
        sound = add_sound(silent, out, heard, stop_s, progress)
        for path in (out, *masks):
            tag_file(path, panorama=work.packing, ambisonic=path == out and is_ambisonic(heard), pose_deg=pose)
    heard_notices = [] if heard in (None, work.stream, work.picture) else heard.notices
    said = (*job.stream.notices, *work.said, *heard_notices, *job.notices(), *work.notices(width))
    mask = outs[1] if outs[1:] else None
    return Projected(outs[0], mask, width, height, job.count, job.end_s, sound, _sentences(said))


class _Masks:
    """Write a mask beside each frame; one that stays is drawn once."""

    def __init__(self, work: _Work, clips: list[ClipStream]) -> None:
        self._work, self._clips = work, clips
        self._last: tuple[View | None, Planes] | None = None

    def add(self, view: View | None, shape: tuple[int, ...], tick: int) -> None:
        if self._clips and (self._last is None or self._last[0] != view):
            mask = self._work.mask(view, shape[0], shape[1])
            grey = np.full((shape[0] // 2, shape[1] // 2), 128, np.uint8)
            self._last = view, Planes(np.rint(16 + 219 * mask).astype(np.uint8), grey, grey)
        for clip in self._clips:
            assert self._last is not None
            clip.add_frame(self._last[1], tick)


def _check_seen(work: _Work) -> None:
    if not work.seen:
        name = work.picture.info.path.name
        raise InputError(
            f"{name} begins at {work.settings.begin_s:g} s, when the panorama has ended; choose an earlier beginning."
        )


def _sentences(notices: tuple[str, ...]) -> tuple[str, ...]:
    whole = (notice[0].upper() + notice[1:].rstrip(".") + "." for notice in notices)
    return tuple(dict.fromkeys(whole))
