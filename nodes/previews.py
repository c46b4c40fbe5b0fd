"""Write small clips into ComfyUI's temp folder; the pack's widgets in the browser stream them through `/view`.

Every panorama preview holds two halves of 2:1: the plain panorama above, and the same with its conditions drawn in
below. So a widget switches overlays without a second file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import sockets
from .host import files, runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.media.info import MediaInfo
    from ..con360.records import Progress, SaliencyMaps, Sound, Viewpoint, ViewTrack

# Heights of a flat picture on a node, and of one that the viewer looks around in.
FLAT_PX, ROUND_PX = 256, 512
MAX_FRAMES = 480
# Length in seconds and frame rate of the preview of a file that is no panorama as it is stored.
UNFOLDED_S, UNFOLDED_FPS = 4.0, 4.0


def panorama_preview(
    image: Tensor, fps: float, height: int, saliency: SaliencyMaps | None = None, track: ViewTrack | None = None,
    sound: Sound | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the preview of a panorama; long clips keep every second, third … frame.

    Args:
        image: IMAGE of any size, brought to 2:1. height: at most so many pixels. saliency, track: drawn into the half
            below, one for each frame.

    Returns:
        The file as `/view` names it, with the rate and length that its player needs.
    """
    from ..con360.records import SaliencyMaps

    stride = stride_of(len(image))
    maps = saliency and SaliencyMaps(saliency.maps[::stride], saliency.method)
    track = track and track.at(range(0, len(track), stride))
    plain, drawn = drawn_panorama(image[::stride], height, maps, track)
    return halves_preview(plain, drawn, fps / stride, height, sound)


def drawn_panorama(
    image: Tensor, height: int, saliency: SaliencyMaps | None, track: ViewTrack | None = None,
    progress: Progress = lambda *_: runtime.check_interrupt(),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Bring an IMAGE to frames `[T, 3, h, 2h]`, h at most `height`; return them plain and with conditions drawn in."""
    from ..con360.drawing.overlay import draw_overlay

    plain = small_panorama(image, height)
    return plain, draw_overlay(plain, fitting(saliency, plain), track, progress=progress)


def halves_preview(plain: Tensor, drawn: Tensor, fps: float, height: int, sound: Sound | None) -> dict[str, Any]:
    """Write frames `[T, 3, h, 2h]` above their drawn ones, as `panorama_preview` does, at most `height` rows each."""
    import torch

    stride, rows = stride_of(len(plain)), min(height, plain.shape[-2])
    halves = [_resized(half[::stride], rows) for half in (plain, drawn)]
    return clip_preview(torch.cat(halves, dim=-2), fps / stride, sound, turns=True)


def stride_of(num_frames: int) -> int:
    """Return n where every n-th frame of a clip is enough for a preview."""
    return -(-num_frames // MAX_FRAMES)


def clip_preview(frames: Tensor, fps: float, sound: Sound | None = None, turns: bool = False) -> dict[str, Any]:
    """Write frames `[T, 3, H, W]` with their sound, cut to even edges and to channels that a browser can play.

    Args:
        turns: keep Ambisonics, which the widget mixes for the view that it shows.
    """
    from ..con360.media.coders import PictureCoding
    from ..con360.media.writer import write_clip
    from ..con360.sound.levels import for_clip, to_mono

    ambisonic = turns and sound is not None and sound.layout == "ambix"
    if sound is not None:
        sound = to_mono(sound) if sound.layout == "ambix" and not turns else for_clip(sound)[0]
    path, saved = files.temp_file("con360_preview", ".mp4")
    even = frames[..., : frames.shape[-2] // 2 * 2, : frames.shape[-1] // 2 * 2]
    for notice in write_clip(path, even, fps, sound, coding=PictureCoding(quick=True)):
        runtime.log.warning("a preview: %s", notice)
    return {**saved, "fps": fps, "frames": len(frames), "sound": sound is not None, "ambisonic": ambisonic}


def sound_preview(sound: Sound) -> dict[str, Any]:
    """Write a sound as a WAV, mixed to channels that a browser can play."""
    from ..con360.media.wav import wav_stream
    from ..con360.sound.levels import for_clip, to_mono

    plain = to_mono(sound) if sound.layout == "ambix" else for_clip(sound)[0]
    path, saved = files.temp_file("con360_preview", ".wav")
    with wav_stream(path, len(plain.waveform), plain.sample_rate_hz) as wav:
        wav.add(plain.waveform.numpy())
    return {**saved, "sound": True}


def small_clip(image: Tensor, height: int) -> Tensor:
    """IMAGE of any shape to frames `[T, 3, h, w]`, h at most `height`; frame by frame, as 4K clips are large."""
    import torch
    import torch.nn.functional as F

    rows, columns = image.shape[1:3]
    size = (height, max(2, round(columns / rows * height))) if rows > height else (rows, columns)
    frames = []
    for frame in image:
        runtime.check_interrupt()
        frames.append(F.interpolate(sockets.frames_from_image(frame[None]), size, mode="bilinear", antialias=True))
    return torch.cat(frames).clamp(0, 1)


def file_facts(info: MediaInfo, ambisonics: str = "auto", head_locked: bool = False) -> dict[str, Any]:
    """Facts about a file that the viewer needs to stream it, and those that it shows below."""
    from ..con360.media.track import choose_track

    found: dict[str, Any] = {
        "width": info.width, "height": info.height, "fps": info.fps, "seconds": info.duration_s,
        "projection": info.projection, "stereo": info.stereo, "channels": 0,
    }  # fmt: skip
    track, _ = choose_track(info, None, ambisonics, head_locked)
    if track is None:
        return {"stereo": info.stereo, "ambisonic": False, "found": found}
    found |= {"channels": track.channels, "layout": track.layout, "sample_rate_hz": track.sample_rate_hz}
    # As a browser decodes it: W, Y, Z, X, which the viewer mixes for its view.
    turns = (track.layout, track.channels, track.heard.picks) == ("ambix", 4, None)
    return {"stereo": info.stereo, "ambisonic": turns, "found": found}


def unfolded_preview(info: MediaInfo, start: float, duration: float | None) -> dict[str, Any]:
    """The beginning of a part of a file that the viewer cannot show as it is; nothing for plain panoramas."""
    from ..con360.media.reader import read_panorama
    from ..con360.media.unfolding import unfolding_of

    if unfolding_of(info) is None:
        return {}
    seconds = min(UNFOLDED_S, duration or UNFOLDED_S, max(0.5, (info.duration_s or UNFOLDED_S) - start))
    clip = read_panorama(
        info.path, start_s=start, duration_s=seconds, fps=UNFOLDED_FPS, height=ROUND_PX, reading=info.reading,
        progress=lambda *_: runtime.check_interrupt(),
    )  # fmt: skip
    return {"unfolded": panorama_preview(sockets.image_from_frames(clip.frames), clip.fps, ROUND_PX)}


def small_panorama(image: Tensor, height: int) -> Tensor:
    """IMAGE to frames `[T, 3, h, 2h]`, h even and at most `height`; frame by frame, as 4K clips are large."""
    import torch

    rows = min(height, image.shape[1]) // 2 * 2
    frames = []
    for frame in image:
        runtime.check_interrupt()
        frames.append(_resized(sockets.frames_from_image(frame[None]), rows))
    return torch.cat(frames)


def fitting(saliency: SaliencyMaps | None, frames: Tensor) -> SaliencyMaps | None:
    """Resize saliency maps to frames `[T, 3, h, 2h]`."""
    from dataclasses import replace

    return saliency and replace(saliency, maps=_resized(saliency.maps[:, None], frames.shape[-2])[:, 0])


def _resized(pictures: Tensor, height: int) -> Tensor:
    import torch.nn.functional as F

    if pictures.shape[-2:] == (height, 2 * height):
        return pictures
    return F.interpolate(pictures, (height, 2 * height), mode="bilinear", antialias=True).clamp(0, 1)


def regions(found: tuple[Viewpoint, ...]) -> list[dict[str, Any]]:
    """Describe ranked viewpoints for the editor's marks: their angles, frame by frame where they move."""
    return [
        {
            "rank": viewpoint.rank,
            "mass": viewpoint.region.mass,
            "views": [
                [view.yaw_deg, view.pitch_deg]
                for view in (viewpoint.track.views[:1] if viewpoint.track.is_still else viewpoint.track.views)
            ],
        }
        for viewpoint in found
        if viewpoint.region is not None
    ]
