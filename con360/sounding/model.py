"""Load a model that makes Ambisonics for a 360° video: OmniAudio, or the built-in small one of the same classes.

A small model is a folder: `config.json` (panorama, sample_rate_hz, trained_s, knows, defaults), `model.safetensors`
with OmniAudio's names, and `pictures.safetensors`, a `SmallEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..choices import BUILT_IN_AMBISONICS, OMNIAUDIO_MODEL
from ..control.file import fingerprint
from ..errors import InputError
from ..media.files import existing_file
from ..models.omniaudio import OmniAudio
from ..weights.catalog import KNOWN_PARTS, advice
from ..weights.files import problems_of, read_tensors, short
from ..weights.find import find, model_roots
from ..weights.omniaudio import load_omniaudio
from ..weights.places import config_of
from .picture_encoder import PictureEncoder, load_clip_encoder
from .small_encoder import SmallEncoder

BUNDLE = Path(__file__).resolve().parent.parent / "bundle_ambisonics"
CONFIG, NETWORK, PICTURES = "config.json", "model.safetensors", "pictures.safetensors"
OMNIAUDIO_KNOWS = "It was trained on pieces of 10 s of 360° videos from the web, with their recorded sound (Sphere360)."


@dataclass(frozen=True)
class AmbisonicsModel:
    """A model with the encoder of pictures that it was trained with.

    Args:
        name: for people.
        knows: a sentence about what it was trained on.
    """

    network: OmniAudio
    encoder: PictureEncoder
    name: str
    knows: str

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Sampler settings that it recommends: `steps`, `cfg_audio`."""
        return self.network.metadata.get("defaults", {})

    @cached_property
    def identity(self) -> str:
        """Tell models apart by their weights."""
        network = self.network
        own = fingerprint(network.transformer, network.embedders, network.vae)
        return f"{own}-{network.panorama}-{network.dtype}-{self.encoder.identity}"


def load_ambisonics_model(
    model: str | Path | None = None, pictures: str | Path | None = None, *, device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AmbisonicsModel:  # fmt: skip
    """Load a model and its picture encoder.

    Args:
        model: OmniAudio's `model.ckpt` or a safetensors made of it; `omniaudio` takes the one in the model folders; a
            small model's folder; None or `con360-small` is the built-in one.
        pictures: OmniAudio's picture encoder, a MetaCLIP folder of transformers; None takes the one in the model
            folders.
        dtype: of the transformer and OmniAudio's picture encoder; the autoencoder stays in float32.

    Raises:
        InputError: no such file or folder, weights that do not fit, or a picture encoder of another width.
    """
    folder = _small_folder(model)
    if folder is not None:
        if pictures is not None:
            raise InputError(f"the small model in {short(folder)} has a picture encoder of its own; name none for it.")
        return _small(folder, device, dtype)
    path = _found("omniaudio") if str(model) == OMNIAUDIO_MODEL else existing_file(str(model))
    network = load_omniaudio(path, device=device, dtype=dtype)
    encoder = load_clip_encoder(pictures or _found("picture encoder"), device=device, dtype=dtype)
    return _checked(AmbisonicsModel(network, encoder, network.name, OMNIAUDIO_KNOWS))


def _small_folder(model: str | Path | None) -> Path | None:
    """The folder of a small model; None where OmniAudio is named."""
    if model is None or str(model) == BUILT_IN_AMBISONICS:
        return BUNDLE
    path = Path(model).expanduser()
    return path if path.is_dir() else None


def _found(key: str) -> Path:
    """The first usable part of this kind in the model folders."""
    part = next(part for part in KNOWN_PARTS if part.key == key)
    usable = [one.path for one in find(part, model_roots()) if one.problem is None]
    if not usable:
        raise InputError(f"the {key} is not in the model folders. {advice(key)}")
    return usable[0]


def _small(folder: Path, device: torch.device | str, dtype: torch.dtype) -> AmbisonicsModel:
    knows, defaults = _own_facts(folder)
    name = BUILT_IN_AMBISONICS if folder == BUNDLE else folder.resolve().name
    network = load_omniaudio(folder / NETWORK, device=device, dtype=dtype)
    network = replace(network, name=name, metadata={"defaults": defaults})
    encoder = _small_encoder(existing_file(folder / PICTURES)).to(device)
    return _checked(AmbisonicsModel(network, encoder, name, knows))


def _own_facts(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read what `load_omniaudio` does not ask of a small model's config.json: `knows` and `defaults`."""
    config = config_of(existing_file(folder / CONFIG).parent)
    knows, defaults = config.get("knows"), config.get("defaults")
    if not isinstance(knows, str) or not isinstance(defaults, dict) or not {"steps", "cfg_audio"} <= defaults.keys():
        raise InputError(
            f"{short(folder / CONFIG)} is no small model's: wanted knows, a sentence, and defaults with steps and "
            f"cfg_audio. Get the folder again."
        )
    return knows, defaults


def _small_encoder(path: Path) -> SmallEncoder:
    state = {name: tensor.float() for name, tensor in read_tensors(path).items()}
    try:
        encoder = SmallEncoder(state["project.weight"].shape[0], state["layers.4.weight"].shape[0])
    except KeyError as error:
        raise InputError(f"{short(path)} lacks {error}: it is no small picture encoder; get it again.") from error
    problems = list(problems_of(encoder.state_dict(), state))
    if problems:
        raise InputError(f"{short(path)} does not fit: {'; '.join(problems[:3])}. Get it again.")
    encoder.load_state_dict(state)
    encoder.identity = f"{encoder.identity}-{fingerprint(encoder)}"
    return encoder.eval().requires_grad_(False)


def _checked(model: AmbisonicsModel) -> AmbisonicsModel:
    wanted = model.network.embedders.conditioners["video_fov"].embedder[0].in_features
    if model.encoder.width != wanted:
        raise InputError(
            f"the picture encoder gives {model.encoder.width} features and {model.name} reads {wanted}; choose the "
            f"encoder that the model was trained with (MetaCLIP ViT-H/14 for OmniAudio)."
        )
    return model
