"""Place a sound on the sphere, at a point, along a path, or where the picture says that it lies.

The node carries the viewpoint editor of `web/editor.js`, which drags the sound's icon and writes into the node's
widgets.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.choices import RANKINGS, VIEW_MODES
from ..con360.errors import InputError
from ..con360.records import PanoramaClip
from . import previews, sockets
from .host import runtime
from .viewpoint import BY_KEYFRAMES, FOV, PITCH, STILL, YAW, found_viewpoints, of_rank, told

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import SaliencyMaps, Sound, SourcePoint, SourceTrack, Viewpoint, ViewTrack

BY_SUBJECT, FOLLOWED = RANKINGS[0], VIEW_MODES[1]
BY_VIEWPOINT, BY_PANNING = "viewpoint", "stereo panning"
# Ways to ask the picture, and the function of `con360.placing.finding` for each.
FINDERS = {"find the place": "find_places", "find by rhythm": "find_rhythms", "most moving": "most_moving"}
MODES = [STILL, BY_KEYFRAMES, BY_SUBJECT, BY_VIEWPOINT, BY_PANNING, *FINDERS]
NEEDS = {BY_SUBJECT: "saliency", BY_VIEWPOINT: "basd", **dict.fromkeys(FINDERS, "frames")}
METRES = {"min": 0.1, "max": 1000.0, "step": 0.1}
# Frames per second and length in seconds of an empty panorama, shown where no frames are connected.
BLANK_FPS, BLANK_S = 4.0, 120.0
KEYFRAMES_HELP = (
    'The path over time as a JSON list: [{"time": 0, "yaw": 0, "pitch": 0, "distance": 1}, ...], seconds, degrees and '
    "metres. The editor writes it."
)


class Con360PlaceSound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360PlaceSound",
            display_name="Place Sound on Sphere",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360PlaceSound", "pan", "encode", *runtime.SOUND_WORDS),
            **runtime.sent_again(),
            description="Places a sound around the listener, still or moving, and gives it as Ambisonics. Drag its "
            "icon on the panorama.",
            inputs=[
                io.Audio.Input("audio", tooltip="The sound. Stereo is mixed to mono, except for 'stereo panning'."),
                io.Combo.Input(
                    "mode", options=MODES,
                    tooltip="'still' and 'keyframes' are set in the editor, 'subject' follows a salient subject, "
                    "'viewpoint' follows basd, 'stereo panning' keeps a stereo sound's own places in front. 'find the "
                    "place' gives each band of the sound to the movement in the picture that keeps its time, 'find by "
                    "rhythm' does so for generated sound, 'most moving' gives all of it to what moves most.",
                ),
                io.Int.Input("rank", default=1, min=1, max=8,
                             tooltip="Which subject: 1 is the most salient. Used with 'subject'."),
                io.Float.Input("yaw", **YAW,
                               tooltip="Degrees to the right of the panorama's centre. Used with 'still'."),
                io.Float.Input("pitch", **PITCH, tooltip="Degrees upwards. Used with 'still'."),
                io.Float.Input("distance", default=1.0, **METRES,
                               tooltip="Metres: 1 keeps the level, twice as far is 6 dB quieter. Keyframes have their "
                               "own."),
                io.Float.Input("spread", default=0.0, min=0.0, max=360.0, step=1.0,
                               tooltip="Degrees that the sound fills at least: 0 is a point, 360 is all around."),
                io.Float.Input("gain", default=0.0, min=-60.0, max=24.0, step=0.5,
                               tooltip="Decibels, on top of the distance."),
                io.Int.Input("order", default=3, min=1, max=3,
                             tooltip="Order of the Ambisonics: 1 has 4 channels, 2 has 9, 3 has 16 and is the sharpest "
                             "on headphones. What the picture places is of order 1."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0,
                               tooltip="Frame rate of frames, saliency and depth."),
                io.Image.Input("frames", optional=True,
                               tooltip="The panorama, for the editor and for what the picture places."),
                io.Mask.Input("saliency", optional=True,
                              tooltip="For 'subject'; what the picture places estimates its own without it."),
                sockets.Con360Basd.Input("basd", optional=True, tooltip="The path for 'viewpoint'."),
                io.Mask.Input("depth", optional=True,
                              tooltip="Nearness over the panorama, bright is near; sets the distance along the path of "
                              "'subject' and 'viewpoint'."),
                runtime.advanced(io.Float.Input("near", default=1.0, optional=True, **METRES,
                                                tooltip="Metres where depth is brightest.")),
                runtime.advanced(io.Float.Input("far", default=10.0, optional=True, **METRES,
                                                tooltip="Metres where depth is darkest.")),
                io.String.Input("keyframes", default="", optional=True, tooltip=KEYFRAMES_HELP),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="Ambisonics: for Mix Ambisonics, Save 360° Video and "
                                "Ambisonics→Headphones; core's audio nodes write one or two channels."),
                io.String.Output(display_name="notices", tooltip="What was found, assumed or left out."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, mode: str | None = None, keyframes: str | None = "", frames: Any = runtime.ABSENT,
        saliency: Any = runtime.ABSENT, basd: Any = runtime.ABSENT,
    ) -> bool | str:  # fmt: skip
        given = {"frames": frames, "saliency": saliency, "basd": basd}
        return runtime.verdict(
            mode=lambda: _check_mode(mode, [name for name, value in given.items() if value is not runtime.ABSENT]),
            keyframes=lambda: _check_keyframes(keyframes, mode),
        )

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, audio: dict[str, Any], mode: str, rank: int, yaw: float, pitch: float, distance: float, spread: float,
        gain: float, order: int, fps: float, frames: Tensor | None = None, saliency: Tensor | None = None,
        basd: sockets.BasdRecord | None = None, depth: Tensor | None = None, near: float = 1.0, far: float = 10.0,
        keyframes: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.records import SourcePoint

        runtime.check_choice(mode, MODES, "the mode")
        count = None if frames is None else len(frames)
        maps = None if saliency is None else sockets.saliency_from_mask(saliency, count)
        scene = _Scene(sockets.sound_from_audio(audio), fps, _fitting(frames, maps), maps, basd, depth, (near, far))
        point = SourcePoint(yaw, pitch, distance, spread, gain)
        report = runtime.progress()
        report(0, 2, "placing")
        if mode in FINDERS:
            placed = _found(scene, mode, gain)
        elif mode == BY_PANNING:
            placed = _panned(scene, point, order)
        else:
            placed = _tracked(scene, _track(scene, mode, rank, point, keyframes), order)
        report(1, 2, "picture")
        placed = replace(placed, notices=(*placed.notices, *scene.lengths, *sockets.peak_notices(placed.field)))
        shown = {**_shown(scene, placed), "mode": mode}
        report(2, 2, "picture")
        field = sockets.audio_from_sound(placed.field)
        return io.NodeOutput(field, "\n".join(placed.notices), ui={"con360": [shown]})


@dataclass(frozen=True)
class _Scene:
    """The sound, and what is known of the picture around it."""

    sound: Sound
    fps: float
    frames: Tensor | None
    saliency: SaliencyMaps | None
    basd: sockets.BasdRecord | None
    depth: Tensor | None
    reach_m: tuple[float, float]

    def mono(self) -> tuple[Sound, tuple[str, ...]]:
        """The sound as one source, and what was done to it."""
        from ..con360.sound.levels import to_mono

        channels = self.sound.waveform.shape[0]
        return to_mono(self.sound), () if channels == 1 else (f"the sound's {channels} channels are mixed to mono",)

    @property
    def lengths(self) -> tuple[str, ...]:
        """Say where picture and sound do not end together; say nothing where they do."""
        sound_s = self.sound.duration_s
        picture_s = sound_s if self.frames is None else len(self.frames) / self.fps
        if abs(picture_s - sound_s) < 1 / self.fps:
            return ()
        return (f"the sound lasts {sound_s:.2f} s and the picture {picture_s:.2f} s",)

    @functools.cached_property
    def subjects(self) -> tuple[Viewpoint, ...]:
        """Salient subjects and their paths; none without saliency."""
        if self.saliency is None:
            return ()
        return told(found_viewpoints(self.saliency, self.fps, FOLLOWED, FOV["default"], BY_SUBJECT))


@dataclass(frozen=True)
class _Placed:
    """A placed sound; `source` and `track` where it is one mono sound on one path, which the editor can play."""

    field: Sound
    notices: tuple[str, ...] = ()
    source: Sound | None = None
    track: SourceTrack | None = None


# ---- the path


def _path(text: str) -> SourceTrack:
    from ..con360.sound.source_tracks import track_from_json

    return track_from_json(text)


def _check_mode(mode: str | None, connected: Iterable[str]) -> None:
    """Refuse an unknown mode, and one whose socket is not connected; None, a linked widget, has no value yet."""
    if mode is not None and runtime.check_choice(mode, MODES, "the mode") in NEEDS:
        _needed(True if NEEDS[mode] in connected else None, NEEDS[mode], mode)


def _check_keyframes(text: str | None, mode: str | None) -> None:
    """Refuse keyframes that cannot be read, and none where they are needed; a linked text, None, is not known yet."""
    if text or (text is not None and mode == BY_KEYFRAMES):
        _path(_needed(text or None, "keyframes", BY_KEYFRAMES))


def _track(scene: _Scene, mode: str, rank: int, point: SourcePoint, keyframes: str) -> SourceTrack:
    from ..con360.records import SourceTrack

    if mode == STILL:
        return SourceTrack.still(point)
    if mode == BY_KEYFRAMES:
        return _louder_and_wider(_path(_needed(keyframes or None, "keyframes", mode)), point)
    if mode == BY_SUBJECT:
        _needed(scene.saliency, "saliency", mode)
        views, fps = of_rank(scene.subjects, rank).track, scene.fps
    else:
        record = _needed(scene.basd, "basd", mode)
        views, fps = record.maps.track, record.fps
    return _seen_path(views, fps, scene, point)


def _seen_path(views: ViewTrack, fps: float, scene: _Scene, point: SourcePoint) -> SourceTrack:
    """The path of what views look at, at the widget's distance or, where depth is connected, at its own."""
    from ..con360.sound.source_tracks import track_of_depth, track_of_views

    track = _each(track_of_views(views, fps), distance_m=point.distance_m)
    if scene.depth is not None:
        near, far = scene.reach_m
        track = track_of_depth(track, scene.depth, scene.fps, near_m=near, far_m=far)
    return _louder_and_wider(track, point)


def _each(track: SourceTrack, **values: float) -> SourceTrack:
    return replace(track, points=tuple(replace(point, **values) for point in track.points))


def _louder_and_wider(track: SourceTrack, by: SourcePoint) -> SourceTrack:
    """Add the widget's gain to each point; its spread is the least that each has."""
    points = (replace(p, gain_db=p.gain_db + by.gain_db, spread_deg=max(p.spread_deg, by.spread_deg))
              for p in track.points)  # fmt: skip
    return replace(track, points=tuple(points))


def _needed(value: Any, name: str, mode: str) -> Any:
    if value is None:
        raise InputError(f"'{mode}' needs {name}, which is empty or not connected; give it, or choose another mode.")
    return value


# ---- placing


def _tracked(scene: _Scene, track: SourceTrack, order: int) -> _Placed:
    from ..con360.sound.sources import place

    source, said = scene.mono()
    return _Placed(place(source, track, order), said, source, track)


def _panned(scene: _Scene, point: SourcePoint, order: int) -> _Placed:
    """Place a stereo sound's parts where its own panning has them."""
    from ..con360.sound.source_tracks import panned_tracks
    from ..con360.sound.sources import place, sum_fields

    parts = panned_tracks(scene.sound)
    fields = [place(part, _louder_and_wider(_each(track, distance_m=point.distance_m), point), order)
              for part, track in parts]  # fmt: skip
    return _Placed(sum_fields(fields))


def _found(scene: _Scene, mode: str, gain_db: float) -> _Placed:
    """Give each band of the sound to what moves with it in the picture."""
    from ..con360.placing import finding
    from ..con360.placing.movement import movement_of_clip
    from ..con360.sound.fields import synthesise

    mono, said = scene.mono()
    clip = PanoramaClip(sockets.panorama_from_image(_needed(scene.frames, "frames", mode)), scene.fps)
    movement = movement_of_clip(clip, scene.saliency, progress=runtime.progress())
    found = getattr(finding, FINDERS[mode])(movement, mono)
    louder = replace(mono, waveform=mono.waveform * 10 ** (gain_db / 20))
    return _Placed(synthesise(louder, found.field), (*said, *found.notices))


# ---- the editor's picture


def _fitting(frames: Tensor | None, maps: SaliencyMaps | None) -> Tensor | None:
    if frames is not None and maps is not None and len(frames) != len(maps.maps):
        raise InputError(
            f"there are {len(frames)} frames and {len(maps.maps)} saliency maps; connect the frames that the saliency "
            "was made of, or none."
        )
    return frames


def _shown(scene: _Scene, placed: _Placed) -> dict[str, Any]:
    """The panorama with its subjects and the sound's path; the sound is mono where the editor places it itself."""
    from ..con360.sound.headphones import to_ears

    frames, fps = (_blank(scene), BLANK_FPS) if scene.frames is None else (scene.frames, scene.fps)
    maps = None if scene.frames is None else scene.saliency
    heard = placed.source or to_ears(placed.field)
    preview = previews.panorama_preview(frames, fps, previews.FLAT_PX, maps, sound=heard)
    preview["source"] = placed.source is not None
    return {
        "panorama": preview, "rankings": {BY_SUBJECT: previews.regions(scene.subjects)},
        "path": _path_shown(placed.track, preview), "notices": list(placed.notices),
    }  # fmt: skip


def _blank(scene: _Scene) -> Tensor:
    import torch

    seconds = min(scene.sound.duration_s, BLANK_S)
    return torch.zeros(max(1, round(seconds * BLANK_FPS)), previews.FLAT_PX, 2 * previews.FLAT_PX, 3)


def _path_shown(track: SourceTrack | None, preview: dict[str, Any]) -> list[list[float]]:
    """Yaw, pitch and distance at each frame of the preview; none without a path."""
    from ..con360.sound.sources import track_at

    if track is None:
        return []
    points = track_at(track, [i / preview["fps"] for i in range(preview["frames"])])
    return points[:, :3].round(2).tolist()
