"""Frames of a panorama to saliency maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from . import host, sockets

if TYPE_CHECKING:
    from torch import Tensor

TRAINING_FREE = "training-free (built in)"


class SalViT360Saliency(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SalViT360Saliency",
            display_name="SalViT360 Saliency",
            category=host.CATEGORY,
            description="Where people would look: one saliency map over the panorama per frame, maximum 1.",
            inputs=[
                io.Image.Input("frames", tooltip="Equirectangular frames; another ratio than 2:1 is stretched."),
                io.Combo.Input(
                    "method", options=[TRAINING_FREE, *host.model_entries(host.SALIENCY)],
                    tooltip="A method that needs no weights, or SalViT360 weights from models/con360_saliency.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="saliency")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, method: str | None) -> bool | str:
        return host.verdict(lambda: method is None or _method(method))

    @classmethod
    def fingerprint_inputs(cls, method: str | None, **kwargs: Any) -> str:
        return "" if method in (TRAINING_FREE, None) else host.identity([_method(method)])

    @classmethod
    @host.needs_packages
    def execute(cls, frames: Tensor, method: str) -> io.NodeOutput:
        from ..con360.saliency.predict import predict_saliency

        report = host.progress()
        report(0, 1, "saliency")
        panorama = sockets.panorama_from_image(frames)
        with host.gives_way():
            saliency = predict_saliency(panorama, _method(method), device=host.device(), progress=report)
        return io.NodeOutput(sockets.mask_from_maps(saliency.maps))


def _method(choice: str) -> Any:
    """What the library calls the choice: a name, or the path of the weights."""
    entries = host.model_entries(host.SALIENCY)
    host.check_weights(choice, [TRAINING_FREE, *entries], "the saliency method", "salvit360")
    return entries.get(choice, "training-free")
