"""Give any video-to-sound model a field: hand out views of the panorama, and gather the sounds made for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.choices import RANKINGS
from ..con360.errors import InputError
from ..con360.records import PanoramaClip, ViewTrack
from . import sockets
from .crop import SIZE_RANGE
from .host import runtime
from .viewpoint import FOV, STILL, found_viewpoints, told

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Sound, View, Viewpoint, ViewpointClip

AROUND, BY_SUBJECT = "all around", RANKINGS[0]
CHOICES = [AROUND, BY_SUBJECT]


class Con360ViewsAround(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360ViewsAround",
            display_name="Views Around",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360ViewsAround", "perspective views", "directions"),
            description="Cuts views all around out of the panorama, as a list: the nodes after this one, such as any "
            "video-to-sound model, run once for each view.",
            inputs=[
                io.Image.Input("frames", tooltip="The panorama."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames."),
                io.Combo.Input(
                    "choose_by", options=CHOICES,
                    tooltip="'all around' spreads views evenly, clockwise from the front; 'subject' has one view of "
                    "each salient subject.",
                ),
                io.Int.Input("count", default=6, min=2, max=16, tooltip="Number of views; of subjects at most."),
                io.Boolean.Input("above_below", default=False,
                                 tooltip="The last two views look straight up and down. Used with 'all around'."),
                io.Float.Input("fov", **FOV, tooltip="Field of view in degrees, across and down."),
                io.Int.Input("size", default=256, min=SIZE_RANGE[0], max=SIZE_RANGE[1], step=2,
                             tooltip="Width and height in pixels."),
                io.String.Input("caption", default="", multiline=True, optional=True,
                                tooltip="Words about the scene; each view's caption adds its direction."),
                io.Mask.Input("saliency", optional=True, tooltip="Needed for 'subject'."),
                io.Audio.Input("audio", optional=True,
                               tooltip="The panorama's own sound: each view gets what a microphone there would have "
                               "heard, to compare a model with."),
            ],
            outputs=[
                io.Image.Output(display_name="frames", is_output_list=True, tooltip="Each view's pictures."),
                io.Video.Output(display_name="video", is_output_list=True, tooltip="The same as videos."),
                io.Audio.Output(display_name="audio", is_output_list=True,
                                tooltip="Each view's share of the panorama's own sound; silence without it."),
                io.String.Output(display_name="caption", is_output_list=True, tooltip="Words with the direction."),
                sockets.Con360View.Output(display_name="view", is_output_list=True,
                                          tooltip="Each view's direction, for Sounds to Field."),
                io.Float.Output(display_name="yaw", is_output_list=True, tooltip="Degrees to the right."),
                io.Float.Output(display_name="pitch", is_output_list=True, tooltip="Degrees upwards."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, choose_by: str | None = None, saliency: Any = runtime.ABSENT) -> bool | str:
        return runtime.verdict(choose_by=lambda: _check_choice(choose_by, saliency is runtime.ABSENT))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, fps: float, choose_by: str, count: int, above_below: bool, fov: float, size: int,
        caption: str = "", saliency: Tensor | None = None, audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.placing.views import direction_words, views_around

        _check_choice(choose_by, saliency is None)
        size, odd = runtime.even(size, *SIZE_RANGE)
        runtime.tell(odd)
        if choose_by == AROUND:
            views = views_around(count, above_below=above_below, fov_deg=fov)
        else:
            views = views_around(_subjects(saliency, fps, fov)[:count])
        sound = None if audio is None else sockets.sound_from_audio(audio)
        clip = PanoramaClip(sockets.panorama_from_image(frames), fps, sound and _as_long(sound, len(frames), fps))
        clips: list[ViewpointClip] = []
        report = runtime.progress()
        for view in views:
            report(len(clips), len(views), direction_words(view))
            clips.append(_cut(clip, view, size))
        report(len(views), len(views), "views")
        words = [", ".join(filter(None, (caption.strip(), direction_words(view)))) for view in views]
        return io.NodeOutput(
            [sockets.image_from_frames(one.frames) for one in clips],
            [sockets.video_from_clip(one.frames, one.fps, one.sound) for one in clips],
            [sockets.audio_from_sound(one.sound) for one in clips],
            words, list(views), [view.yaw_deg for view in views], [view.pitch_deg for view in views],
        )  # fmt: skip


class Con360SoundsToField(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360SoundsToField",
            display_name="Sounds to Field",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360SoundsToField", "encode", *runtime.SOUND_WORDS),
            is_input_list=True,
            description="Places the sound of each view at its direction and gives all of them as one Ambisonic sound; "
            "what overlapping views share counts once.",
            inputs=[
                io.Audio.Input("sounds", tooltip="One sound for each view, in the order of the views."),
                sockets.Con360View.Input("views", tooltip="From Views Around."),
                io.Int.Input("order", default=1, min=1, max=3,
                             tooltip="Order of the Ambisonics: 4, 9 or 16 channels."),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="Ambisonics."),
                io.String.Output(display_name="notices", tooltip="What was changed, and peaks above full scale."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(cls, sounds: list[dict[str, Any]], views: list[View], order: list[int]) -> io.NodeOutput:
        from ..con360.placing.views import field_of_views, sounds_notices

        heard = [sockets.sound_from_audio(sound) for sound in sounds]
        report = runtime.progress()
        report(0, 1, "field")
        field = field_of_views(heard, views, order[0])
        report(1, 1, "field")
        notices = (*sounds_notices(heard), *sockets.peak_notices(field))
        return io.NodeOutput(sockets.audio_from_sound(field), "\n".join(notices))


def _check_choice(choose_by: str | None, without_saliency: bool) -> None:
    if choose_by is None:  # a linked widget has no value yet
        return
    runtime.check_choice(choose_by, CHOICES, "choose_by")
    if choose_by == BY_SUBJECT and without_saliency:
        raise InputError(f"'{BY_SUBJECT}' needs saliency, which is not connected; connect it, or choose '{AROUND}'.")


def _subjects(saliency: Tensor | None, fps: float, fov: float) -> tuple[Viewpoint, ...]:
    assert saliency is not None  # `_check_choice` refuses
    maps = sockets.saliency_from_mask(saliency)
    return told(found_viewpoints(maps, fps, STILL, fov, BY_SUBJECT))


def _as_long(sound: Sound, frames: int, fps: float) -> Sound:
    from ..con360.sound.levels import fit_length

    return fit_length(sound, round(frames / fps * sound.sample_rate_hz))


def _cut(clip: PanoramaClip, view: View, size: int) -> ViewpointClip:
    """Cut a view out of a clip; a clip without sound gives silence."""
    from ..con360.pipeline import crop_view

    return crop_view(clip, ViewTrack.still(view, clip.num_frames), size)
