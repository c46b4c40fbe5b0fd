"""The real view out of a 360° clip, with its sound, to compare with the generated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from ..con360.records import Sound, ViewTrack
from . import host, sockets

if TYPE_CHECKING:
    from torch import Tensor

VIEW, OMNI = "view", "omni"


class ViewpointCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ViewpointCrop",
            display_name="Viewpoint Crop",
            category=host.CATEGORY,
            description="Cuts the chosen view out of the 360° clip: what a camera there would have seen and heard.",
            inputs=[
                io.Image.Input("frames", tooltip="Equirectangular frames, as many as the viewpoint has."),
                sockets.Con360Basd.Input("basd", tooltip="The viewpoint."),
                io.Int.Input("size", default=256, min=32, max=2048, step=2, tooltip="Width and height in pixels."),
                io.Combo.Input(
                    "sound", options=[VIEW, OMNI],
                    tooltip="'view' turns a wide virtual microphone to the view (Ambisonic sound only), 'omni' is the "
                    "mono downmix.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="Four channels are read as AmbiX Ambisonics."),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, sound: str | None) -> bool | str:
        return host.verdict(lambda: sound is None or host.check_choice(sound, [VIEW, OMNI], "the sound"))

    @classmethod
    def execute(
        cls, frames: Tensor, basd: sockets.BasdRecord, size: int, sound: str, audio: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        import torch

        from ..con360.geometry.perspective import erp_to_perspective

        host.check_choice(sound, [VIEW, OMNI], "the sound")
        panorama, views = sockets.panorama_from_image(frames), basd.maps.track.views
        if len(views) != len(panorama):
            raise InputError(
                f"the clip has {len(panorama)} frames and the viewpoint {len(views)}; make both from the same frames."
            )
        report = host.progress()
        crops = []
        for i, view in enumerate(views):
            report(i, len(views), "cropping")
            crops.append(erp_to_perspective(panorama[i : i + 1], view, size)[0])
        crop = torch.stack(crops)
        heard = _heard(audio, sound, basd)
        report(len(views), len(views), "cropping")
        return io.NodeOutput(
            sockets.image_from_frames(crop),
            sockets.audio_from_sound(heard),
            sockets.video_from_clip(crop, basd.fps, heard),
        )


def _heard(audio: dict[str, Any] | None, kind: str, basd: sockets.BasdRecord) -> Sound:
    """Mono sound of the view, exactly as long as the picture."""
    from ..con360.media.sound import fit_length, to_mono, view_sound

    track: ViewTrack = basd.maps.track
    if audio is None:
        return sockets.silence(len(track), basd.fps)
    sound = sockets.sound_from_audio(audio)
    mono = view_sound(sound, track, basd.fps) if kind == VIEW and sound.layout == "ambix" else to_mono(sound)
    return fit_length(mono, round(len(track) / basd.fps * sound.sample_rate_hz))
