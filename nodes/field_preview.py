"""Play Ambisonics of any order in the browser, and show from where its energy comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from . import previews, sockets
from .ambisonics import ambisonic, said
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

BLANK_FPS, BLANK_S = 8.0, 60.0


class Con360AmbisonicsPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360AmbisonicsPreview",
            display_name="Ambisonics Preview",
            category=runtime.CATEGORY,
            is_output_node=True,
            description="Plays Ambisonics of any order on headphones, turning while you look around, and draws from "
            "where its energy comes.",
            inputs=[
                io.Audio.Input("audio", tooltip="Ambisonics of any order."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames."),
                io.Int.Input("height", default=512, min=64, max=2048, step=2,
                             tooltip="Largest height of both outputs in pixels."),
                io.Image.Input("frames", optional=True, tooltip="The panorama that the sound belongs to."),
                *sockets.channel_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The panorama with the sound's energy as heat."),
                io.Image.Output(display_name="compass", tooltip="One picture: energy per direction over time."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, audio: dict[str, Any], fps: float, height: int, frames: Tensor | None = None, ambisonics: str = "auto",
        head_locked: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        raise NotImplementedError
