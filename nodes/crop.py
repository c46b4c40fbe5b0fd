"""Cut the real view out of a 360° clip, with its sound, to compare it with the generated one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.choices import ASPECTS, VIEW_SOUNDS, ViewSound, aspect_of
from ..con360.records import PanoramaClip
from . import sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

SOUNDS: list[ViewSound] = list(VIEW_SOUNDS)
SIZE_RANGE = (32, 2048)
OWN_ASPECT = "viewpoint's"


class Con360ViewpointCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360ViewpointCrop",
            display_name="Viewpoint Crop",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360ViewpointCrop", "perspective", "flat view", *runtime.SOUND_WORDS),
            description="Cuts the chosen view out of the 360° clip: what a camera there would have seen and heard.",
            inputs=[
                io.Image.Input("frames", tooltip="Equirectangular frames, as many as the viewpoint has."),
                sockets.Con360Basd.Input("basd", tooltip="The viewpoint."),
                io.Int.Input("size", default=256, min=SIZE_RANGE[0], max=SIZE_RANGE[1], step=2,
                             tooltip="Longer side in pixels."),
                io.Combo.Input(
                    "sound", options=SOUNDS,
                    tooltip="'view' turns a wide virtual microphone to the view where the sound is Ambisonic; 'omni' "
                    "is the mono downmix; 'headphones' is what two ears hear that look there, and needs Ambisonics.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="The panorama's sound; four channels are Ambisonics."),
                *sockets.channel_inputs(),
                runtime.advanced(io.Combo.Input(
                    "aspect", options=[OWN_ASPECT, *ASPECTS], default=OWN_ASPECT, optional=True,
                    tooltip="Shape of the picture, width to height; the field of view spans its longer side.")),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, basd: sockets.BasdRecord, size: int, sound: ViewSound, audio: dict[str, Any] | None = None,
        ambisonics: str = "auto", head_locked: bool = False, aspect: str = OWN_ASPECT,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.pipeline import crop_view
        from ..con360.sound.levels import fit_length

        runtime.check_choice(sound, SOUNDS, "the sound")
        runtime.check_choice(aspect, [OWN_ASPECT, *ASPECTS], "the aspect ratio")
        track = basd.maps.track
        if aspect != OWN_ASPECT:
            track = replace(track, aspect=aspect_of(aspect))
        size, odd = runtime.even(size, *SIZE_RANGE)
        runtime.tell(odd)
        report = runtime.progress()
        report(0, 1, "cropping")
        heard = None
        if audio is not None:
            heard = sockets.sound_from_audio(audio, sockets.checked_ambisonics(ambisonics, head_locked), head_locked)
            # Other packs' loaders may bring sound that is longer or shorter than the frames.
            heard = fit_length(heard, round(len(frames) / basd.fps * heard.sample_rate_hz))
        panorama = PanoramaClip(sockets.panorama_from_image(frames), basd.fps, heard)
        clip = crop_view(panorama, track, size, sound)
        report(1, 1, "cropping")
        return io.NodeOutput(
            sockets.image_from_frames(clip.frames),
            sockets.audio_from_sound(clip.sound),
            sockets.video_from_clip(clip.frames, clip.fps, clip.sound),
        )
