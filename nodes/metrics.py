"""Measure clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from . import sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

DIRECTIONS = ["generated_to_target", "target_to_generated"]


class Con360SaliencyKL(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360SaliencyKL",
            display_name="S_KL",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360SaliencyKL", "saliency metric", "KL divergence"),
            description="Measures how differently two clips draw the eye: the divergence of their saliency, 0 for "
            "equal clips.",
            inputs=[
                io.Image.Input("generated", tooltip="The generated view."),
                io.Image.Input("target", tooltip="The true view (Viewpoint Crop), as many frames as the other."),
                io.Combo.Input(
                    "direction", options=DIRECTIONS,
                    tooltip="'generated_to_target' is the paper's, the other one TempSAL's own.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="s_kl", tooltip="Mean over frames, in nats."),
                io.String.Output(display_name="definition", tooltip="What the figure means and what it was made with."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(cls, generated: Tensor, target: Tensor, direction: str) -> io.NodeOutput:
        from ..con360.metrics.saliency import definition, s_kl

        runtime.check_choice(direction, DIRECTIONS, "the direction")
        report = runtime.progress()
        report(0, 1, "S_KL")
        clips = (sockets.frames_from_image(clip) for clip in (generated, target))
        value = s_kl(*clips, direction=direction)
        report(1, 1, "S_KL")
        meaning = definition(direction)
        return io.NodeOutput(value, f"{meaning.name} = {value:.4f} {meaning.unit}: {meaning.text}")
