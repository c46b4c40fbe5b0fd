"""The scene in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.records import PanoramaClip
from . import host, sockets

if TYPE_CHECKING:
    from torch import Tensor


class CubemapCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CubemapCaption",
            display_name="Cubemap Caption",
            category=host.CATEGORY,
            description="Words for the scene: what you type, else the sample's own caption, else a plain statement of "
            "what is known. Nothing is guessed from the picture.",
            inputs=[
                io.Image.Input("frames", tooltip="The panorama; a plain statement says how long it is."),
                io.String.Input(
                    "text", default="", multiline=True,
                    tooltip="What is seen and heard. Empty: the scene caption, or a plain statement.",
                ),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames."),
                io.Audio.Input("audio", optional=True, tooltip="The panorama's sound, for the plain statement."),
                io.String.Input(
                    "scene_caption", optional=True, force_input=True,
                    tooltip="Caption output of Load 360° Video; used when the text is empty.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="short", tooltip="For the model's text encoders; empty for a plain statement."
                ),
                io.String.Output(display_name="long", tooltip="For people."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, frames: Tensor, text: str, fps: float, audio: dict[str, Any] | None = None, scene_caption: str = ""
    ) -> io.NodeOutput:
        from ..con360.caption import plain_caption, typed_caption

        host.check_interrupt()
        words = text.strip() or scene_caption.strip()
        if words:
            caption = typed_caption(words)
        else:
            sound = None if audio is None else sockets.sound_from_audio(audio)
            caption = plain_caption(PanoramaClip(sockets.frames_from_image(frames), fps, sound))
        return io.NodeOutput(caption.short, caption.long)
