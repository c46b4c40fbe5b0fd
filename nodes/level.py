"""Turn, level and re-centre a whole 360° file: it stays one, and its sound turns with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from comfy_api.v0_0_2 import InputImpl, io

from ..con360.choices import QUALITIES, VIDEO_CODECS, Eye, Quality, VideoCodec
from ..con360.errors import InputError
from ..con360.media.coders import PictureCoding, check_codec
from . import panorama_source, previews, sockets
from .host import files, runtime, tokens
from .host.words import Words
from .load_video import EYES, file_of, identity_of, reading_inputs, reading_of
from .viewpoint import PITCH, YAW

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..con360.records import PanoramaClip

# Steps fine enough for a horizon.
FINE = {"step": 0.5}


class Con360Level360Video(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360Level360Video",
            display_name="Level 360° Video",
            category=runtime.CATEGORY,
            **runtime.search_words(
                "Con360Level360Video", "horizon", "tilt", "stabilise", "straighten", "rotate 360", "recentre",
                "recenter", "reorient", "yaw pitch roll", *runtime.SOUND_WORDS,
            ),
            **runtime.sent_again(),
            is_output_node=True,
            description="Turns a whole 360° video, to level its horizon or to put something else in front, and saves "
            "it as a 360° video. Ambisonic sound turns with it. Needs no weights; files may have any length.",
            inputs=[
                panorama_source.file_input(),
                io.Float.Input("yaw", **YAW | FINE,
                               tooltip="Degrees to the right: what lies there comes to the middle."),
                io.Float.Input("pitch", **PITCH | FINE,
                               tooltip="Degrees upwards: what lies there comes to the middle."),
                io.Float.Input("roll", **YAW | FINE,
                               tooltip="Degrees by which a camera leans to its right: the picture turns to the left."),
                io.Boolean.Input(
                    "auto", default=False,
                    tooltip="First undo the camera's tilt that the file's own metadata states; yaw, pitch and roll "
                    "come on top.",
                ),
                io.String.Input("filename_prefix", default="video/Con360-level",
                                tooltip="Name in the output folder; a number is added."),
                *panorama_source.inputs(),
                runtime.advanced(io.Float.Input("recentre", **YAW | FINE, optional=True,
                                                tooltip="Then make this yaw of the levelled picture its middle.")),
                runtime.advanced(io.Combo.Input("eye", options=EYES, default="auto", optional=True,
                                                tooltip="Stereo videos: one eye, or the whole picture as one. 'auto' "
                                                "keeps both eyes and turns each by itself.")),
                runtime.advanced(io.Combo.Input("codec", options=Words(VIDEO_CODECS, check_codec),
                                                default=VIDEO_CODECS[0],
                                                optional=True, tooltip="H.265 makes smaller files, and fewer players "
                                                "show it.")),
                runtime.advanced(io.Combo.Input("quality", options=list(QUALITIES), default=QUALITIES[0], optional=True,
                                                tooltip="'high' for editing and uploading, 'small' for sending.")),
                *sockets.channel_inputs(),
                *reading_inputs(upright=False),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The 360° file that was saved."),
                io.String.Output(display_name="notices", tooltip="What was done or is missing."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, video: str | None = None, auto: bool | None = False, clip: Any = runtime.ABSENT,
        frames: Any = runtime.ABSENT,
    ) -> bool | str:  # fmt: skip
        from_file = clip is runtime.ABSENT and frames is runtime.ABSENT
        return runtime.verdict(video=lambda: _check_file(video, bool(auto and from_file)))

    @classmethod
    def fingerprint_inputs(cls, video: str | None, **kwargs: Any) -> str:
        return identity_of(video)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, video: str, yaw: float, pitch: float, roll: float, auto: bool, filename_prefix: str,
        clip: Any = None, frames: Tensor | None = None, audio: dict[str, Any] | None = None, fps: float = 8.0,
        recentre: float = 0.0, eye: Eye | Literal["auto"] = "auto", codec: VideoCodec = "H.264",
        quality: Quality = "high", ambisonics: str = "auto", head_locked: bool = False, layout: str = "auto",
        projection: str = "auto",
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.media.info import probe
        from ..con360.reframing.level import LevelSettings, level

        for value, options, what in ((eye, EYES, "the eye"), (quality, QUALITIES, "the quality")):
            runtime.check_choice(value, options, what)
        ambisonics = sockets.checked_ambisonics(ambisonics, head_locked)
        reading = reading_of(layout, projection)
        source = panorama_source.source_of(video, 0.0, 0.0, ambisonics, head_locked, clip, frames, audio, fps, reading)
        settings = LevelSettings(
            yaw, pitch, roll, auto, recentre or None, source.start, source.duration, None if eye == "auto" else eye,
            ambisonics=ambisonics, head_locked=head_locked, coding=PictureCoding(codec, quality), reading=reading,
        )  # fmt: skip
        prefix, unfilled = tokens.with_values(filename_prefix, *runtime.prompt_of(cls))
        path, saved = files.output_file(prefix, ".mp4", 0, 0)
        made = level(source.panorama, path, settings, tags=runtime.workflow_of(cls), progress=runtime.progress())
        notices = [*unfilled, *made.notices]
        shown = {**source.shown, **_tilt(source.panorama), "notices": notices}
        # With the widgets' values, by which the panel knows whether the file is still what they ask for.
        chosen = {"yaw": yaw, "pitch": pitch, "roll": roll, "auto": auto, "recentre": recentre, "eye": eye}
        shown["levelled"] = {**saved, **previews.file_facts(probe(path)), "set": chosen}
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)), "\n".join(notices),
            ui={"images": [saved], "animated": (True,), "con360": [shown]},
        )  # fmt: skip


def _tilt(panorama: Path | PanoramaClip) -> dict[str, Any]:
    """The turn that undoes a file's tilt, for the panel."""
    from ..con360.media.info import probe
    from ..con360.records import PanoramaClip
    from ..con360.reframing.level import tilt_of

    tilt = None if isinstance(panorama, PanoramaClip) else tilt_of(probe(panorama))
    return {} if tilt is None else {"tilt": {"yaw": tilt.yaw_deg, "pitch": tilt.pitch_deg, "roll": tilt.roll_deg}}


def _check_file(video: str | None, auto: bool) -> None:
    """Refuse a file that is not there, or states no tilt where `auto` needs one; None, a link, has no value yet."""
    from ..con360.media.info import probe
    from ..con360.reframing.level import check_tilt

    if video is None:
        return
    path = file_of(video)
    if not auto:
        return
    if path is None:
        raise InputError("the built-in sample is level; set yaw, pitch and roll by hand, or choose a file.")
    check_tilt(probe(path))
