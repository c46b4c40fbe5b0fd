"""Guide the sampler towards the caption's meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..con360.choices import GUIDE_LOSSES, GUIDE_STEERS, GuideLoss, GuideSteer
from . import sockets
from .host import runtime

if TYPE_CHECKING:
    from ..con360.models.joint import JointModel
    from ..con360.protocols import MeaningEncoder


class Con360MeaningGuide(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360MeaningGuide",
            display_name="Guide by Meaning",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360MeaningGuide", "GRAM", "alignment", "semantics", "guidance"),
            description="Pulls sound, picture or both towards the caption's meaning while Joint AV Sampler works.",
            inputs=[
                io.Combo.Input("loss", options=list(GUIDE_LOSSES),
                               tooltip="'pairwise' is the cosines of caption, sound and picture; 'volume' is what they "
                               "span, which cannot tell a thing from its opposite; 'safe' is the volume with a hinge."),
                io.Combo.Input("steer", options=list(GUIDE_STEERS), tooltip="What moves; the other is listened to."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.05,
                               tooltip="How far each step is moved; 0 is off."),
                io.Float.Input("start", default=0.2, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which the guide begins."),
                io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which the guide ends."),
                sockets.Con360Meaning.Input("encoder", optional=True,
                                            tooltip="Whose meaning guides; without it the model's own."),
            ],
            outputs=[sockets.Con360Guide.Output(display_name="guide", tooltip="For guide of Joint AV Sampler.")],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, loss: GuideLoss, steer: GuideSteer, strength: float, start: float, end: float,
        encoder: MeaningEncoder | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.meaning.guide import MeaningGuideSettings

        # Checks the words as well, which the server does not.
        settings = MeaningGuideSettings(loss, steer, strength, start, end)
        return io.NodeOutput(sockets.GuideRecord(settings, encoder))


def encoder_of(encoder: MeaningEncoder | None, model: JointModel) -> MeaningEncoder:
    """The connected encoder, else the one that lies in the model's folder."""
    from ..con360.meaning.built_in import load_built_in

    if encoder is not None:
        return encoder
    with runtime.outside_inference():
        return load_built_in(model)
