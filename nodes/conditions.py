"""Assemble what a control reads from the sockets of a node: maps, viewpoint and caption, at one frame rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..con360.errors import InputError
from ..con360.records import Conditions, PanoramaClip, SaliencyMaps, SceneCaption
from . import sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.control import LoadedControl


def conditions_from(
    saliency: Tensor, basd: sockets.BasdRecord, caption: str, control: LoadedControl | None = None,
    frames: Tensor | None = None, fps: float | None = None,
) -> Conditions:  # fmt: skip
    """Saliency, viewpoint and caption, and what else a control names, made of the 360° frames.

    Args:
        control: with `frames`, its further maps and signals are made.
        frames: IMAGE of the panorama, one per saliency map.
        fps: the frame rate wanted; None is the viewpoint's own.
    """
    from ..con360.pipeline import with_control

    record, maps = basd.maps, sockets.saliency_from_mask(saliency, len(basd.maps.track))
    clip = panorama_of(frames, maps, basd.fps)
    if fps is not None and basd.fps != fps and len(maps.maps) == len(record.track):
        index = nearest_frames(len(record.track), basd.fps, fps)
        maps = replace(maps, maps=maps.maps[index])
        record = replace(record, maps=record.maps[index], track=record.track.at(index))
        clip = clip and PanoramaClip(clip.frames[index], fps)
    made = Conditions(maps, record, caption_of(caption))
    return made if clip is None or control is None else with_control(made, clip, control)


def panorama_of(frames: Tensor | None, maps: SaliencyMaps, fps: float) -> PanoramaClip | None:
    """The panorama that the maps were made of.

    Raises:
        InputError: there are not as many frames as maps.
    """
    if frames is None:
        return None
    if len(frames) != len(maps.maps):
        raise InputError(
            f"there are {len(frames)} frames and {len(maps.maps)} saliency maps; connect the frames that the saliency "
            "was made of, or none."
        )
    return PanoramaClip(sockets.panorama_from_image(frames), fps)


def nearest_frames(num_frames: int, have_fps: float, fps: float) -> list[int]:
    """The nearest frame in time for each frame at the model's rate, so that clips of any loader fit the model."""
    count = max(1, round(num_frames / have_fps * fps))
    return [min(num_frames - 1, round(i / fps * have_fps)) for i in range(count)]


def caption_of(text: str) -> SceneCaption:
    """Recognise the sample's caption by its form, because a link carries the words alone."""
    from ..con360.caption import typed_caption
    from ..con360.scenes import is_scene_caption

    caption = typed_caption(text)
    return replace(caption, origin="scene") if is_scene_caption(caption.short) else caption
