"""A joint model whose sound also reads the meaning of its caption, and of a given picture or sound."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from ..control.file import fingerprint
from ..errors import InputError
from ..models.class_vector import ClassVector
from ..models.joint import JointModel
from ..protocols import Inputs
from ..records import Conditions
from ..weights.class_vector import load_class_vector
from .built_in import BuiltInMeaning


@dataclass(frozen=True)
class ConditionedModel(JointModel):
    """The model with a layer behind its caption's sentence vector; the unconditional pass stays as it is.

    Args:
        layer, encoder: of one training.
        picture, sound: vectors `[1, D]` of what is given beside the caption.
    """

    layer: ClassVector | None = None
    encoder: BuiltInMeaning | None = None
    picture: Tensor | None = None
    sound: Tensor | None = None

    @torch.no_grad()
    def encode(self, conditions: Conditions, negative: str = "") -> Inputs:
        assert self.layer is not None and self.encoder is not None  # `conditioned` gives both
        inputs, caption = super().encode(conditions, negative), conditions.caption.short
        text = self.encoder.read_text([caption]) if caption.strip() else None
        if text is None and self.picture is None and self.sound is None:
            return inputs
        added = self.layer(text, self.picture, self.sound).to(inputs.given.audio)
        return replace(inputs, given=inputs.given._replace(audio=inputs.given.audio + added))


def conditioned(
    model: JointModel, path: str | Path, encoder: BuiltInMeaning, *, picture: Tensor | None = None,
    sound: Tensor | None = None,
) -> ConditionedModel:  # fmt: skip
    """Return the model with the layer in a file.

    Raises:
        InputError: the layer cannot be used, was trained over another encoder, or fits another model.
    """
    layer, over = load_class_vector(path, model.device)
    name = Path(path).name
    if over != fingerprint(encoder.network):
        raise InputError(f"{name} was trained over another encoder than {encoder.name}; choose the one beside it.")
    width = int(model.text_encoder_a.config.projection_dim)
    if layer.width != width:
        raise InputError(f"{name} gives {layer.width} values and {model.name} reads {width}; train one for this model.")
    own = {field.name: getattr(model, field.name) for field in fields(JointModel)}
    return ConditionedModel(**own, layer=layer, encoder=encoder, picture=picture, sound=sound)
