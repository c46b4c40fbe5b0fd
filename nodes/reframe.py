"""Cut a flat video out of a 360° file, at its own resolution and frame rate, without holding it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from comfy_api.v0_0_2 import InputImpl, io

from ..con360.choices import ASPECTS, SOUND_KINDS, Eye, SoundKind, aspect_of
from ..con360.errors import InputError
from . import panorama_source, sockets
from .host import files, runtime
from .host.words import Words
from .load_video import EYES, file_of, reading_inputs, reading_of
from .saliency import BUILT_IN, FIRST_FACES, MULTICUE, face_detector, face_file, method_entries, method_of
from .viewpoint import (
    BY_HAND,
    BY_KEYFRAMES,
    FOV,
    KEYFRAMES_HELP,
    KEYFRAMES_TOLD,
    PITCH,
    YAW,
    camera_inputs,
    check_keyframes,
    keyframes_text,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import View, ViewTrack
    from ..con360.reframing.aim import Follow
    from ..con360.viewpoint.keyframes import Keyframe

FOLLOW = "follow"
MODES = [FOLLOW, BY_HAND, BY_KEYFRAMES]
SOUNDS: list[SoundKind] = list(SOUND_KINDS)
CHANNEL_ORDERS = ["AmbiX", "FuMa"]
# As the library's, whose module imports torch.
SIDE_RANGE = (16, 8192)
# Of the path that the editor is told; of longer ones every second, third ... view.
MOST_VIEWS = 2400


class Reframe360Video(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Reframe360Video",
            display_name="Reframe 360° Video",
            category=runtime.CATEGORY,
            **runtime.search_words(
                "Reframe360Video", "flat view", "camera", "keyframes", "follow", "v360", *runtime.SOUND_WORDS
            ),
            **runtime.sent_again(),
            description="Cuts a flat video out of a 360° one at its own resolution and frame rate, and turns the "
            "sound with the view. Needs no weights; files may have any length.",
            inputs=[
                panorama_source.file_input(),
                io.Combo.Input(
                    "mode", options=MODES,
                    tooltip="'follow' keeps what is salient in view (structure, motion, sound, and faces where "
                    "models/con360_faces has a detector), 'yaw and pitch' looks where you say, 'keyframes' moves along "
                    "a path.",
                ),
                io.Int.Input("rank", default=1, min=1, max=8,
                             tooltip="Which subject to follow: 1 is the most salient. Used with 'follow'."),
                io.Float.Input("yaw", **YAW,
                               tooltip="Degrees to the right of the panorama's centre. Used with 'yaw and pitch'."),
                io.Float.Input("pitch", **PITCH, tooltip="Degrees upwards. Used with 'yaw and pitch'."),
                io.Float.Input("fov", **FOV,
                               tooltip="Field of view in degrees across the longer side; keyframes have their own."),
                io.Int.Input("width", default=0, min=0, max=SIDE_RANGE[1], step=2,
                             tooltip="In pixels; 0 follows from height and aspect, and with height 0 from the source."),
                io.Int.Input("height", default=0, min=0, max=SIDE_RANGE[1], step=2,
                             tooltip="In pixels; 0 follows from width and aspect, and with width 0 from the source."),
                io.Float.Input("start", default=0.0, min=0.0, max=86400.0, step=0.1,
                               tooltip="Where to begin, in seconds."),
                io.Float.Input("duration", default=0.0, min=0.0, max=86400.0, step=0.1,
                               tooltip="How long, in seconds; 0 goes to the end."),
                io.Combo.Input(
                    "sound", options=SOUNDS,
                    tooltip="'auto' makes stereo out of Ambisonics, 5.1 and 7.1 and leaves other sound as it is; "
                    "'foa' keeps four channels, turned; 'headphones' is what two ears hear; 'none' leaves the sound "
                    "out.",
                ),
                io.String.Input("keyframes", default="", optional=True, tooltip=KEYFRAMES_HELP),
                runtime.advanced(io.Combo.Input("eye", options=EYES, default="auto", optional=True,
                                             tooltip="Stereo videos: one eye, or the whole picture.")),
                runtime.advanced(io.Combo.Input("channels", options=CHANNEL_ORDERS, default="AmbiX", optional=True,
                                             tooltip="FuMa means the same as 'fuma' of ambisonics; kept for older "
                                             "workflows.")),
                runtime.advanced(io.Float.Input("constant_fps", default=0.0, min=0.0, max=240.0, step=1.0,
                                             optional=True,
                                             tooltip="A constant frame rate; 0 keeps each frame at its own time.")),
                *sockets.channel_inputs(),
                *camera_inputs("Shape of the picture, unless width and height are both set."),
                runtime.advanced(io.Combo.Input(
                    "method", options=Words([*BUILT_IN, *method_entries()], method_of), default=MULTICUE, optional=True,
                    tooltip="Saliency that 'follow' looks for, as in SalViT360 Saliency.")),
                *panorama_source.inputs(),
                io.Mask.Input("saliency", optional=True,
                              tooltip="Where people look, for 'follow' in place of method: one map, or several spread "
                              "evenly over the excerpt."),
                *reading_inputs(),
            ],
            outputs=[
                io.Video.Output(display_name="video"),
                io.String.Output(display_name="notices", tooltip="What was done or is missing."),
                io.String.Output(display_name="keyframes", tooltip=KEYFRAMES_TOLD),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, mode: str | None = None, keyframes: str | None = "") -> bool | str:
        return runtime.verdict(
            mode=lambda: mode is None or runtime.check_choice(mode, MODES, "the mode"),
            keyframes=lambda: check_keyframes(keyframes, mode == BY_KEYFRAMES),
        )

    @classmethod
    def fingerprint_inputs(
        cls, video: str | None, mode: str | None = None, method: str | None = None, **kwargs: Any
    ) -> str:  # fmt: skip
        source = None if video is None else file_of(video)
        faces = None if mode in (BY_HAND, BY_KEYFRAMES) else face_file(FIRST_FACES)
        weights = None if method is None or method in BUILT_IN else method_of(method)
        return files.identity(filter(None, (source, faces, weights)))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, video: str, mode: str, rank: int, yaw: float, pitch: float, fov: float, width: int, height: int,
        start: float, duration: float, sound: SoundKind, keyframes: str = "", eye: Eye | Literal["auto"] = "auto",
        channels: str = "AmbiX", constant_fps: float = 0.0, ambisonics: str = "auto", head_locked: bool = False,
        roll: float = 0.0, aspect: str = ASPECTS[0], method: str = MULTICUE, clip: Any = None,
        frames: Tensor | None = None, audio: dict[str, Any] | None = None, fps: float = 8.0,
        saliency: Tensor | None = None, layout: str = "auto", projection: str = "auto", upright: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.reframing.run import ReframeSettings, reframe

        for value, options, what in ((mode, MODES, "the mode"), (sound, SOUNDS, "the sound"), (eye, EYES, "the eye"),
                                     (channels, CHANNEL_ORDERS, "the channels"),
                                     (aspect, ASPECTS, "the aspect ratio")):  # fmt: skip
            runtime.check_choice(value, options, what)
        size, odd = _size(width, height, aspect)
        ambisonics = _ambisonics(ambisonics, channels, head_locked)
        look_for, reading = method_of(method), reading_of(layout, projection, upright)
        look = _look(mode, rank, (yaw, pitch, fov, roll), keyframes, saliency)
        path, _ = files.temp_file("con360_reframe", ".mp4")
        source = panorama_source.source_of(
            video, start, duration, ambisonics, head_locked, clip, frames, audio, fps, reading
        )
        settings = ReframeSettings(
            size=size, aspect=None if size else aspect_of(aspect), sound=sound,
            start_s=source.start, duration_s=source.duration, fps=constant_fps or None,
            eye=None if eye == "auto" else eye, ambisonics=ambisonics, head_locked=head_locked,
            saliency=look_for, reading=reading,
        )  # fmt: skip
        looks = mode == FOLLOW and saliency is None and method == MULTICUE
        with runtime.gives_way():
            made = reframe(
                source.panorama, path, look, settings, detector=face_detector(FIRST_FACES) if looks else None,
                device=runtime.device(), progress=runtime.progress(),
            )  # fmt: skip
        text, notices = keyframes_text(made.keyframes), [*odd, *made.notices]
        shown = {
            **source.shown, **_path_shown(made.track), "keyframes": text, "notices": notices,
            "excerpt": [source.start, source.duration or 0.0],
            "asked": {"video": video, "mode": mode, "rank": rank, "start": start},
        }  # fmt: skip
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)), "\n".join(notices), text, ui={"con360": [shown]}
        )  # fmt: skip


def _size(width: int, height: int, aspect: str) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Size of the picture, and notices; one side of 0 follows from the other, two of them from the source: None."""
    if not width and not height:
        return None, ()
    ratio, (low, high) = aspect_of(aspect), SIDE_RANGE
    sides = [runtime.even(side, low, high) for side in (width, height) if side]
    if len(sides) == 1:
        ((side, told),) = sides
        other, _ = runtime.even(2 * round((side / ratio if width else side * ratio) / 2), low, high)
        return ((side, other) if width else (other, side)), told
    (across, told), (down, also) = sides
    return (across, down), told + also


def _ambisonics(ambisonics: str, channels: str, head_locked: bool) -> str:
    """Join the two widgets about Ambisonics; `channels` is the older one."""
    word = sockets.checked_ambisonics(ambisonics, head_locked)
    if channels != "FuMa" or word == "fuma":
        return word
    if word != "auto":
        raise InputError(f"channels is FuMa and ambisonics '{word}'; set channels to AmbiX, or ambisonics to auto.")
    return "fuma"


def _look(
    mode: str, rank: int, view: tuple[float, float, float, float], keyframes: str, saliency: Tensor | None
) -> Follow | View | tuple[Keyframe, ...]:  # fmt: skip
    from ..con360.records import View
    from ..con360.reframing.aim import Follow
    from ..con360.viewpoint.keyframes import keyframes_from_json

    if mode == BY_KEYFRAMES:
        return keyframes_from_json(keyframes)
    if mode == BY_HAND:
        return View(*view)
    maps = None if saliency is None else sockets.saliency_from_mask(saliency).maps
    return Follow(rank, *view[2:], maps)


def _path_shown(track: ViewTrack) -> dict[str, Any]:
    """The camera's path for the editor: `[yaw, pitch, fov, roll]` at `path_fps`."""
    from ..con360.reframing.aim import SALIENCY_FPS

    stride = -(-len(track) // MOST_VIEWS)
    views = [
        [round(angle, 2) for angle in (view.yaw_deg, view.pitch_deg, view.fov_deg, view.roll_deg)]
        for view in track.views[::stride]
    ]
    return {"views": views, "path_fps": SALIENCY_FPS / stride}
