"""Give a generated scene's sound its directions, by the head of a control or by what moves in the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import sockets
from .conditions import conditions_from, panorama_of
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import PanoramaClip, SaliencyMaps, Sound
    from .loaders import ManagedControl


class Con360SoundField(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360SoundField",
            display_name="Sound Field",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360SoundField", "direction", *runtime.SOUND_WORDS),
            description="Gives a generated scene's sound its directions: a head in the control reads saliency, caption "
            "and the sound itself, band by band.",
            inputs=[
                sockets.Con360Control.Input("control", tooltip="A control whose file carries a direction head."),
                io.Mask.Input("saliency", tooltip="Of the panorama, one map per frame of basd."),
                sockets.Con360Basd.Input("basd", tooltip="Of the same clip; it gives the maps their frame rate."),
                io.String.Input("caption", default="", multiline=True, tooltip="The words that the sound was made of."),
                io.Audio.Input("audio", tooltip="The scene's sound, of any model; more channels than one are mixed to "
                               "mono."),
                io.Image.Input("frames", optional=True,
                               tooltip="The panorama. With it the head sees what pulses, and a control without a head "
                               "falls back to finding the place of each band by its rhythm."),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="Ambisonics of four channels, in the panorama's "
                                "directions: for Ambisonics Preview, Save 360° Video and Ambisonics→Headphones."),
                io.String.Output(display_name="notices", tooltip="What gave the directions, and what it could not "
                                 "read."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, control: ManagedControl, saliency: Tensor, basd: sockets.BasdRecord, caption: str, audio: dict[str, Any],
        frames: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        sound = sockets.sound_from_audio(audio)
        if sound.layout == "ambix":
            raise InputError("the sound is Ambisonic already; connect the sound of the sampler.")
        if control.control.field_head is None:
            maps = sockets.saliency_from_mask(saliency, len(basd.maps.track))
            field, notices = _found(sound, panorama_of(frames, maps, basd.fps), maps)
        else:
            from ..con360.control.directions import control_directions
            from ..con360.sound.fields import synthesise
            from ..con360.sound.levels import to_mono

            conditions = conditions_from(saliency, basd, caption, control.control, frames)
            maps = conditions.saliency
            directions, notices = control_directions(control.control, conditions, sound, basd.fps)
            field = synthesise(to_mono(sound), directions)
        notices = (*notices, *_lengths(sound, len(maps.maps) / basd.fps), *sockets.peak_notices(field))
        return io.NodeOutput(sockets.audio_from_sound(field), "\n".join(notices))


def _found(sound: Sound, clip: PanoramaClip | None, maps: SaliencyMaps) -> tuple[Sound, tuple[str, ...]]:
    """Fall back, by name, to the place of each band's rhythm."""
    from ..con360.placing.generated import FALLBACK, place_mono
    from ..con360.placing.movement import movement_of_clip

    if clip is None:
        raise InputError(
            "this control carries no direction head. Connect the frames to find the place of the sound in the picture, "
            "or load a control with a head."
        )
    field, found = place_mono(sound, movement_of_clip(clip, maps, progress=runtime.progress()))
    return field, (FALLBACK, *found.notices)


def _lengths(sound: Sound, picture_s: float) -> tuple[str, ...]:
    """Say where picture and sound do not end together; say nothing where they do."""
    if abs(picture_s - sound.duration_s) < 0.2:
        return ()
    return (f"the sound lasts {sound.duration_s:.2f} s and the maps {picture_s:.2f} s",)
