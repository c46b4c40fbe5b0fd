"""What preparing needs of a joint model: its encoders, and the facts that decide the shapes of what they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from con360.timing import ClipSpec


@dataclass(frozen=True)
class ModelFacts:
    """What of a model decides prepared data.

    Args:
        name: for people. picture_size_px: side of the pictures. latent_stride_a, latent_multiple_a: as in `ClipSpec`.
        fingerprint: of the autoencoders' and text encoders' weights.
    """

    name: str
    picture_size_px: int
    latent_stride_a: int
    latent_multiple_a: int
    fingerprint: str

    def clip_spec(self, seconds: float) -> ClipSpec:
        return ClipSpec(seconds, latent_stride_a=self.latent_stride_a, latent_multiple_a=self.latent_multiple_a)


@dataclass(frozen=True)
class Encoders:
    """The parts that make latents and text features; named as in `JointModel`."""

    vae_v: Any
    vae_a: Any
    tokenizer_v: Any
    text_encoder_v: Any
    tokenizer_a: Any
    text_encoder_a: Any


def model_facts(name_or_folder: str | Path) -> ModelFacts:
    """The facts of a model.

    Raises:
        InputError: as `load_joint_model`.
    """
    return _open(str(name_or_folder), _newest(name_or_folder))[0]


def load_encoders(name_or_folder: str | Path, device: str = "cpu") -> Encoders:
    """A model's encoders; its U-Nets are let go of.

    Raises:
        InputError: as `load_joint_model`.
    """
    parts = vars(_open(str(name_or_folder), _newest(name_or_folder))[1])
    return Encoders(**{k: part if k.startswith("tokenizer") else part.to(device) for k, part in parts.items()})


def _newest(name_or_folder: str | Path) -> int:
    from con360.weights.find import model_folder

    folder = Path(model_folder(name_or_folder))
    return max(file.stat().st_mtime_ns for file in (folder, *folder.rglob("*")))


@lru_cache(maxsize=1)
def _open(name_or_folder: str, newest: int) -> tuple[ModelFacts, Encoders]:
    """Loaded once per process and state of the files: settings are made more often than models change."""
    from con360.control import fingerprint
    from con360.weights.find import model_folder
    from con360.weights.load import load_joint_model

    del newest
    model = load_joint_model(model_folder(name_or_folder))
    spec = model.clip_spec(4.0)
    weights = fingerprint(model.vae_v, model.vae_a, model.text_encoder_v, model.text_encoder_a)
    facts = ModelFacts(model.name, model.picture_size_px, spec.latent_stride_a, spec.latent_multiple_a, weights)
    return facts, Encoders(**{name: getattr(model, name) for name in Encoders.__dataclass_fields__})
