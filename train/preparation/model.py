"""Load a joint model's encoders, and the facts that set the shapes of their output."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from con360.timing import MAX_SECONDS, ClipSpec
from con360.weights.catalog import BUILT_IN_MODEL

if TYPE_CHECKING:
    from con360.protocols import MeaningEncoder
    from con360.sounding.model import AmbisonicsModel


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model that decide prepared data.

    Args:
        model: name or folder as the user gave it, for `load_encoders`.
        name: name to show.
        picture_size_px: side of the pictures.
        latent_stride_a, latent_multiple_a: as in `ClipSpec`.
        fingerprint: of the autoencoders' and text encoders' weights.
    """

    model: str
    name: str
    picture_size_px: int
    latent_stride_a: int
    latent_multiple_a: int
    fingerprint: str

    def clip_spec(self, seconds: float, longest_s: float = MAX_SECONDS) -> ClipSpec:
        return ClipSpec(
            seconds, latent_stride_a=self.latent_stride_a, latent_multiple_a=self.latent_multiple_a, longest_s=longest_s
        )


@dataclass(frozen=True)
class FieldFacts:
    """Facts of a model of Ambisonics that decide prepared data.

    Args:
        model, pictures: as the user gave them, for `load_field_model`; "" are the defaults.
        identity: of its weights and its picture encoder's.
        trained_s: length that it was trained on; segments may be as long.
    """

    model: str
    pictures: str
    identity: str
    trained_s: float


@dataclass(frozen=True)
class Encoders:
    """Hold the parts that make latents and text features, named as in `JointModel`."""

    vae_v: nn.Module
    vae_a: nn.Module
    tokenizer_v: Any
    text_encoder_v: nn.Module
    tokenizer_a: Any
    text_encoder_a: nn.Module


def model_facts(name_or_folder: str | Path = BUILT_IN_MODEL) -> ModelFacts:
    """Read a model's facts: shapes from headers, the fingerprint from its encoders.

    Raises:
        InputError: as `load_joint_model`.
    """
    from con360.control import fingerprint
    from con360.weights.find import model_folder
    from con360.weights.load import describe_joint_model

    model = describe_joint_model(model_folder(name_or_folder))
    spec, parts = model.clip_spec(4.0), _encoders(str(name_or_folder), _newest(name_or_folder))
    weights = fingerprint(parts.vae_v, parts.vae_a, parts.text_encoder_v, parts.text_encoder_a)
    return ModelFacts(
        str(name_or_folder), model.name, model.picture_size_px, spec.latent_stride_a, spec.latent_multiple_a, weights
    )


def field_facts(model: str, pictures: str = "") -> FieldFacts:
    """Read the facts of a model of Ambisonics.

    Raises:
        InputError: as `load_ambisonics_model`.
    """
    found = load_field_model(model, pictures)
    return FieldFacts(model, pictures, found.identity, found.network.trained_s)


@lru_cache(maxsize=1)
def load_field_model(model: str, pictures: str = "", device: str = "cpu") -> AmbisonicsModel:
    """Load a model of Ambisonics with its picture encoder, once per process.

    Raises:
        InputError: as `load_ambisonics_model`.
    """
    from con360.sounding.model import load_ambisonics_model

    return load_ambisonics_model(model, pictures or None, device=device)


def load_encoders(name_or_folder: str | Path, device: str = "cpu") -> Encoders:
    """Load a model's encoders; its U-Nets and vocoder are not read.

    Raises:
        InputError: as `load_part`.
    """
    parts = vars(_encoders(str(name_or_folder), _newest(name_or_folder)))
    return Encoders(**{k: part if k.startswith("tokenizer") else part.to(device) for k, part in parts.items()})


def _newest(name_or_folder: str | Path) -> int:
    from con360.weights.find import model_folder

    folder = Path(model_folder(name_or_folder))
    return max(file.stat().st_mtime_ns for file in (folder, *folder.rglob("*")))


@lru_cache(maxsize=1)
def _encoders(name_or_folder: str, newest: int) -> Encoders:
    """Load once per process, and again if a file changed: `model_facts` and `load_encoders` share the result."""
    from con360.weights.find import model_folder
    from con360.weights.load import load_part
    from con360.weights.parts import model_parts

    del newest
    parts = model_parts(model_folder(name_or_folder))
    return Encoders(**{part.name: load_part(parts, part.name) for part in fields(Encoders)})


@lru_cache(maxsize=1)
def match_encoder(named: str, model: str, device: str) -> MeaningEncoder:
    """Load the encoder of the rule `match`, once per process.

    Args:
        named: as for `con360.meaning.load.load_meaning`.
        model: as the user named it; its latents are read by `built-in` and by files of `train.meaning.run`.
    """
    from con360.meaning.load import load_meaning, reads_latents
    from con360.weights.find import model_folder
    from con360.weights.load import load_joint_model

    lends = load_joint_model(model_folder(model), device=device) if reads_latents(named) else None
    return load_meaning(named, lends, device)
