"""The scene in words."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from . import host


class CubemapCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CubemapCaption",
            display_name="Cubemap Caption",
            category=host.CATEGORY,
            description="Words for the scene: what you type, else the sample's own caption, else a plain statement. "
            "Nothing is guessed from the picture.",
            inputs=[
                io.String.Input(
                    "text", default="", multiline=True,
                    tooltip="What is seen and heard. Empty: the scene caption, or a plain statement.",
                ),
                io.String.Input(
                    "scene_caption", optional=True, force_input=True,
                    tooltip="Caption output of Load 360° Video; used when the text is empty.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="short", tooltip="For the model: its text encoder keeps 77 tokens."),
                io.String.Output(display_name="long", tooltip="For people."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, text: str, scene_caption: str = "") -> io.NodeOutput:
        from ..con360.caption import plain_caption, typed_caption

        words = text.strip() or (scene_caption or "").strip()
        caption = typed_caption(words) if words else plain_caption()
        return io.NodeOutput(caption.short, caption.long or caption.short)
