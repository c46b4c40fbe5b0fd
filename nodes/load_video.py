"""Load a 360° video file, or the built-in sample, as frames and sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from comfy_api.v0_0_2 import io

from ..con360 import choices
from ..con360.errors import InputError
from ..con360.timing import ClipSpec
from . import previews, sockets
from .host import files, runtime
from .host.words import Words

if TYPE_CHECKING:
    from pathlib import Path

    from ..con360.media.layouts import Reading
    from ..con360.media.painting import Eye
    from ..con360.records import PanoramaClip

SAMPLE = "[built-in sample]"
HEIGHT_RANGE = (64, 4096)
EYES: list[Eye | Literal["auto"]] = ["auto", *choices.EYES]


class Load360Video(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Load360Video",
            display_name="Load 360° Video",
            category=runtime.CATEGORY,
            **runtime.search_words("Load360Video", "load panorama", "import", *runtime.SOUND_WORDS),
            **runtime.sent_again(),
            description="Loads a piece of an equirectangular video at a constant frame rate, with its sound as "
            "recorded.",
            inputs=[
                video_input("A video of the input folder, or a procedural sample scene that is rendered on the spot."),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=86400.0, step=0.1, tooltip="Where the clip begins, in seconds.",
                ),
                io.Float.Input(
                    "duration", default=4.0, min=0.5, max=60.0, step=0.1,
                    tooltip="Length of the clip in seconds. The joint model makes at most 4 s.",
                ),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=60.0, step=1.0,
                    tooltip="Frames per second to take. The joint model works at 8.",
                ),
                io.Int.Input(
                    "height", default=512, min=HEIGHT_RANGE[0], max=HEIGHT_RANGE[1], step=2,
                    tooltip="Height of the frames in pixels; the width is twice that. Frames shrink while decoding.",
                ),
                io.Combo.Input(
                    "eye", options=EYES, default="auto",
                    tooltip="Stereo videos: one eye, or the whole picture. 'auto' takes the left eye of a file that is "
                    "marked as stereo.",
                ),
                *sockets.channel_inputs(),
                *reading_inputs(),
                io.Combo.Input(
                    "hdr", options=list(choices.LOADED_HDR), default=choices.LOADED_HDR[0], optional=True,
                    tooltip="HDR10 and HLG videos: tone-mapped to ordinary frames, or the file's own values as they "
                    "are.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio", tooltip="As recorded; Ambisonics as AmbiX of order 1 to 3. "
                                "More than two channels go to Viewpoint Crop: core's audio nodes write one or two."),
                io.Float.Output(display_name="fps"),
                io.String.Output(display_name="caption", tooltip="The sample's own caption; empty for files."),
                io.String.Output(display_name="notices", tooltip="What was done to the clip or is missing in it."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    def fingerprint_inputs(cls, video: str | None, **kwargs: Any) -> str:
        return identity_of(video)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, video: str, start: float, duration: float, fps: float, height: int, eye: Eye | Literal["auto"],
        ambisonics: str = "auto", head_locked: bool = False, layout: choices.Layout = "auto",
        projection: choices.ProjectionWord = "auto",
        upright: bool = False, hdr: choices.Hdr = "tone-map",
    ) -> io.NodeOutput:  # fmt: skip
        runtime.check_choice(eye, EYES, "the eye")
        runtime.check_choice(hdr, choices.LOADED_HDR, "what becomes of HDR")
        height, odd = runtime.even(height, *HEIGHT_RANGE)
        ambisonics = sockets.checked_ambisonics(ambisonics, head_locked)
        reading = reading_of(layout, projection, upright)
        caption, shown = "", dict[str, Any](video=video)
        source = file_of(video)
        if source is None:
            clip, caption = sample_clip(start, duration, fps, height)
            # Files are streamed by the viewer itself; the sample has none.
            image = sockets.image_from_frames(clip.frames)
            shown["panorama"] = previews.panorama_preview(image, fps, previews.ROUND_PX, sound=clip.sound)
        else:
            from ..con360.media.browsers import why_not_played
            from ..con360.media.info import probe
            from ..con360.media.reader import read_panorama
            from ..con360.media.unfolding import unfolding_of

            info = probe(source).taken_as(reading)
            shown |= previews.file_facts(info, ambisonics, head_locked)
            clip = read_panorama(
                source, start_s=start, duration_s=duration, fps=fps, height=height,
                eye=None if eye == "auto" else eye, ambisonics=ambisonics, head_locked=head_locked, reading=reading,
                hdr=hdr, progress=runtime.progress(),
            )  # fmt: skip
            # The viewer streams whole panoramas itself, as far as its browser plays them.
            made = "unfolded" if unfolding_of(info) is not None else "preview" if why_not_played(info) else None
            if made is not None:
                image = sockets.image_from_frames(clip.frames)
                shown[made] = previews.panorama_preview(image, fps, previews.ROUND_PX, sound=clip.sound)
        shown["notices"] = notices = [*odd, *clip.notices]
        return io.NodeOutput(
            sockets.image_from_frames(clip.frames),
            sockets.audio_from_sound(clip.sound or sockets.silence(clip.num_frames, clip.fps)),
            float(clip.fps),
            caption,
            "\n".join(notices),
            ui={"con360": [shown]},
        )


def video_input(tooltip: str) -> io.Combo.Input:
    """The widget that names a file of the input folder, or the sample."""
    words = Words([SAMPLE, *files.input_videos()], file_of)
    return io.Combo.Input("video", options=words, upload=io.UploadType.video, tooltip=tooltip)


def reading_inputs(upright: bool = True) -> list[io.Input]:
    """The widgets of how a file's picture is read where its metadata is missing or wrong."""
    widgets: list[io.Input] = [
        io.Combo.Input("layout", options=list(choices.LAYOUTS), default="auto", optional=True,
                       tooltip="Files: how the eyes lie in the picture. 'auto' reads the metadata."),
        io.Combo.Input("projection", options=list(choices.PROJECTIONS), default="auto", optional=True,
                       tooltip="Files: the picture's projection; 'vr180' is half a panorama, 'eac' YouTube's cubemap. "
                       "'auto' reads the metadata."),
    ]  # fmt: skip
    if upright:
        widgets.append(
            io.Boolean.Input("upright", default=False, optional=True,
                             tooltip="Files: turn picture and sound as the metadata says that the camera leant.")
        )  # fmt: skip
    return [runtime.advanced(widget) for widget in widgets]


def reading_of(layout: choices.Layout, projection: choices.ProjectionWord, upright: bool = False) -> Reading:
    """Read those widgets."""
    from ..con360.media.layouts import Reading

    runtime.check_choice(layout, choices.LAYOUTS, "the layout")
    runtime.check_choice(projection, choices.PROJECTIONS, "the projection")
    return Reading(layout, projection, upright)


def file_of(video: str) -> Path | None:
    """The file that the widget names; None for the sample."""
    return None if video == SAMPLE else files.input_file(video)


def identity_of(video: str | None) -> str:
    """Text for `fingerprint_inputs` that changes when the file does; a linked widget, None, has no value yet."""
    source = None if video is None else file_of(video)
    return SAMPLE if source is None else files.identity([source])


def sample_clip(start: float, duration: float, fps: float, height: int) -> tuple[PanoramaClip, str]:
    """Render the sample scene; return the clip and its caption."""
    from ..con360.scenes import demo_scene

    if start:
        raise InputError(f"the built-in sample begins at 0 s and a start of {start:g} s was asked for; set start to 0.")
    report = runtime.progress()
    scene = demo_scene()
    report(0, 1, "rendering the sample")
    clip = scene.panorama(height, ClipSpec(seconds=duration, fps=fps))
    report(1, 1, "rendering the sample")
    return clip, scene.caption().short
