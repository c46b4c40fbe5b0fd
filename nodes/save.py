"""Save a panorama as a file that players recognise: with spherical metadata, and Ambisonics in four channels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from comfy_api.v0_0_2 import io

from ..con360.choices import PRESETS, QUALITIES, VIDEO_CODECS, PresetName, Quality, VideoCodec
from ..con360.errors import InputError
from ..con360.media.coders import PictureCoding, check_codec
from . import previews, sockets
from .host import files, runtime, tokens
from .host.words import Words

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.media.presets import FileKind
    from ..con360.media.spherical_tags import Packing
    from ..con360.records import Sound

NO_PRESET: Literal["none"] = "none"
PACKINGS: list[Packing] = ["mono", "top-bottom", "left-right"]


class Save360Video(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Save360Video",
            display_name="Save 360° Video",
            category=runtime.CATEGORY,
            **runtime.search_words("Save360Video", "export", "spherical metadata", *runtime.SOUND_WORDS),
            is_output_node=True,
            description="Writes panorama frames as an MP4 that players and platforms recognise as 360°, with stereo or "
            "Ambisonic sound.",
            inputs=[
                io.Image.Input("frames", tooltip="Equirectangular frames; odd sizes grow by a pixel."),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames.",
                ),
                io.String.Input("filename_prefix", default="video/Con360",
                                tooltip="Name in the output folder; a number is added. %date:yyyy-MM-dd% and "
                                "%Node.widget% are filled in."),
                io.Combo.Input(
                    "stereo", options=PACKINGS,
                    tooltip="What the picture holds: one eye, or two above each other or side by side.",
                ),
                io.Audio.Input("audio", optional=True,
                               tooltip="Mono, stereo or Ambisonics (its first order); 5.1 and 7.1 become stereo."),
                io.Combo.Input(
                    "codec", options=Words(VIDEO_CODECS, check_codec), default=VIDEO_CODECS[0], optional=True,
                    tooltip="H.264 plays everywhere up to 4K; H.265 needs fewer bytes and is what headsets want above "
                    "4K, but not every browser plays it.",
                ),
                io.Combo.Input(
                    "quality", options=list(QUALITIES), default=QUALITIES[0], optional=True,
                    tooltip="'high' for editing and uploading, 'small' for sending.",
                ),
                io.Combo.Input(
                    "preset", options=[NO_PRESET, *PRESETS], default=NO_PRESET, optional=True,
                    tooltip="A file for players of one kind, whose codecs and channels it names: YouTube, Quest and "
                    "VLC, a head-locked pair, third-order sound, or a master to edit. The codec above is not used.",
                ),
                io.Audio.Input("head_locked_audio", optional=True,
                               tooltip="For the preset headlocked: narration or music that does not turn with the "
                               "view."),
            ],
            outputs=[],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None) -> bool | str:
        # A widget that is linked has no value yet.
        return runtime.verdict(filename_prefix=lambda: filename_prefix is None or files.check_prefix(filename_prefix))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, fps: float, filename_prefix: str, stereo: Packing,
        audio: dict[str, Any] | None = None, codec: VideoCodec = "H.264", quality: Quality = "high",
        preset: PresetName | Literal["none"] = NO_PRESET, head_locked_audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.media.browsers import why_not_played
        from ..con360.media.info import probe
        from ..con360.media.presets import file_kind
        from ..con360.media.writer import clip_stream, to_uint8

        runtime.check_choice(stereo, PACKINGS, "the stereo packing")
        runtime.check_choice(quality, QUALITIES, "the quality")
        check_codec(codec)
        kind = file_kind(None if preset == NO_PRESET else preset, PictureCoding(codec, quality))
        prefix, unfilled = tokens.with_values(filename_prefix, *runtime.prompt_of(cls))
        sound, heard = _fitting(audio, head_locked_audio, kind)
        shape = None if sound is None else (sound.waveform.shape[0], sound.sample_rate_hz)
        first, odd = sockets.grown(frames[:1])
        height, width = first.shape[1:3]
        notices = (*unfilled, *odd, *_shape_notices(width, height, stereo), *heard)
        path, saved = files.output_file(prefix, kind.suffix or ".mp4", width, height)
        kind.check_path(path)
        rate, report = Fraction(fps).limit_denominator(1001), runtime.progress()
        with clip_stream(
            path, (width, height), 1 / rate, fps, shape, panorama=stereo, tags=runtime.workflow_of(cls),
            coding=kind.picture, sound_coding=kind.sound,
        ) as clip:  # fmt: skip
            for i in range(len(frames)):
                report(i, len(frames), "writing")
                image, _ = sockets.grown(frames[i : i + 1])
                clip.add_frame(to_uint8(sockets.frames_from_image(image)[0]), i)
            if sound is not None:
                clip.add_sound(sound.waveform.numpy())
        report(len(frames), len(frames), "writing")
        shown = {
            **saved, "stereo": stereo, "fps": fps, "sound": sound is not None,
            "ambisonic": sound is not None and sound.layout == "ambix",
        }  # fmt: skip
        results: dict[str, Any] = {"saved": shown}
        if why := why_not_played(probe(path)):
            notices = (*notices, f"{path.name} is not for every browser: {why}. A preview stands in for it")
            results["preview"] = previews.panorama_preview(
                _first_eye(frames, stereo), fps, previews.ROUND_PX, sound=sound
            )
        for notice in notices:
            runtime.log.warning("Save 360° Video: %s", notice)
        results["notices"] = list(notices)
        return io.NodeOutput(ui={"images": [saved], "animated": (True,), "con360": [results]})


def _first_eye(frames: Tensor, stereo: Packing) -> Tensor:
    from ..con360.media.unfolding import eye_parts

    rows, columns = eye_parts(tuple(frames.shape[1:3]), stereo)[0]
    return frames[:, rows, columns]


def _shape_notices(width: int, height: int, stereo: Packing) -> tuple[str, ...]:
    """Say that a picture is labelled as a full panorama and has the shape of none."""
    from ..con360.media.info import has_panorama_shape

    if has_panorama_shape(width / height, stereo):
        return ()
    return (
        f"frames of {width}x{height} are labelled as a full 360° panorama ({stereo}), which is 2:1 for each eye: "
        "players will stretch them",
    )


def _fitting(
    audio: dict[str, Any] | None, head_locked: dict[str, Any] | None, kind: FileKind
) -> tuple[Sound | None, tuple[str, ...]]:
    """Bring sound to channels, a rate and a level that the file can hold; say what was done."""
    from ..con360.media.presets import sound_for
    from ..con360.sound.shaping import with_pair

    sound = None if audio is None else sockets.sound_from_audio(audio)
    if head_locked is not None:
        if not kind.shape.pair:
            raise InputError("head-locked audio is connected, and only the preset 'headlocked' holds it; choose that.")
        sound = with_pair(sound, sockets.sound_from_audio(head_locked))
    return (None, ()) if sound is None else sound_for(kind, sound)
