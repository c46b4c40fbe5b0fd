"""Load joint models from a folder, a manifest or picked parts.

`parts.py` finds the folder or file of each part, `build.py` makes and checks the networks. Weights are
safetensors, or pickles read with `weights_only=True`: nothing is unpickled and nothing is downloaded. Loading is
strict: a missing, unknown, misshapen or non-finite weight is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..models.connector_config import ConnectorConfig
from ..models.connectors import Connectors
from ..models.dual_unet import DualUNet
from ..models.joint import JointModel
from ..models.precision import part_dtype
from .build import Network, check_fit, networks_of
from .files import read_json, short
from .parts import ModelParts, model_parts

# The schedule on which AnimateDiff's motion modules were trained.
ANIMATEDIFF_SCHEDULE = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
    "timestep_spacing": "linspace",
}  # fmt: skip


def load_joint_model(
    model: str | Path | ModelParts,
    *,
    picks: Mapping[str, str | Path] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> JointModel:
    """Read a joint model.

    All parts are checked against their configurations and each other, from headers alone, before the first is read.

    Args:
        model: a folder in the published layout, a folder with a manifest, a manifest, or the result of `model_parts`.
        picks: part to path (`parts.PICKS`); they replace those of `model`.
        device, dtype: of the loaded networks, whatever the files store; the codecs stay in float32 (`precision`).

    Raises:
        InputError: a folder or file is missing, unreadable or of another kind, or weights do not fit.
    """
    parts = model if isinstance(model, ModelParts) else model_parts(model, picks)
    networks = networks_of(parts.sources)
    empty = check_model(parts, networks)
    small = _small_parts(parts)
    loaded = {
        part: network.load(empty.pop(part), device, part_dtype(part, dtype)) for part, network in networks.items()
    }
    return _joined(parts, loaded, small, device, dtype)


def describe_joint_model(model: str | Path | ModelParts) -> JointModel:
    """Describe a joint model for its shapes and lengths: networks on the meta device, from headers alone.

    Args:
        model: as for `load_joint_model`.

    Raises:
        InputError: as `load_joint_model`.
    """
    parts = model if isinstance(model, ModelParts) else model_parts(model)
    return _joined(parts, check_model(parts), _small_parts(parts), "meta", torch.float32)


def _small_parts(parts: ModelParts) -> dict[str, Any]:
    """Load tokenizers and schedulers."""
    tokenizers = {name: _load_tokenizer(parts.sources[name], cls) for name, cls in _VOCABULARIES.items()}
    return tokenizers | {name: _load_scheduler(parts.sources.get(name)) for name in ("scheduler_v", "scheduler_a")}


def _joined(
    parts: ModelParts,
    networks: Mapping[str, nn.Module],
    small: Mapping[str, Any],
    device: str | torch.device,
    dtype: torch.dtype,
) -> JointModel:
    codecs = {name: network for name, network in networks.items() if not name.startswith("unet_")}
    unet_v, unet_a, connectors = networks["unet_v"], networks["unet_a"], networks.get("unet_svg")
    if parts.new_connectors:
        connectors = _new_connectors(unet_v, unet_a).to(device=device, dtype=dtype)
    unet = DualUNet(unet_v, unet_a, connectors).eval().requires_grad_(False)
    return JointModel(
        unet=unet, **codecs, **small, folder=parts.folder, name=parts.name, metadata=parts.metadata,
        notices=parts.notices,
    )  # fmt: skip


def load_part(
    model: str | Path | ModelParts,
    part: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Load one small part of a joint model, without the U-Nets.

    Args:
        model: as for `load_joint_model`.
        part: `vae_v`, `vae_a`, `vocoder`, `text_encoder_v`, `text_encoder_a`, `tokenizer_v` or `tokenizer_a`.
        device, dtype: of the loaded part, also for codecs.

    Raises:
        InputError: as `load_joint_model`.
    """
    parts = model if isinstance(model, ModelParts) else model_parts(model)
    if part in _VOCABULARIES:
        return _load_tokenizer(parts.sources[part], _VOCABULARIES[part])
    network = networks_of({part: parts.sources[part]})[part]
    return network.load(network.check(), device, dtype)


def load_vocoder(folder: str | Path) -> nn.Module:
    """Load a vocoder's folder alone, in float32.

    Raises:
        InputError: as `load_joint_model`.
    """
    network = networks_of({"vocoder": Path(folder)})["vocoder"]
    return network.load(network.check(), "cpu", torch.float32)


def check_model(parts: ModelParts, networks: Mapping[str, Network] | None = None) -> dict[str, nn.Module]:
    """Check from headers alone that all parts fit; return the networks without weights.

    Raises:
        InputError: a part does not fit; the message names it and the reason.
    """
    networks = networks_of(parts.sources) if networks is None else networks
    empty = {part: network.check() for part, network in networks.items()}
    check_fit(empty)
    return empty


def _new_connectors(unet_v: nn.Module, unet_a: nn.Module) -> Connectors:
    """Make untrained connectors, from a fixed seed; zero-initialised projections make them the identity."""
    config = ConnectorConfig.for_unets(unet_v, unet_a)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Connectors(config)


_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "RobertaTokenizer", "RobertaTokenizerFast")
# Files of a folder with a bare vocabulary.
_VOCABULARIES = {"tokenizer_v": "CLIPTokenizer", "tokenizer_a": "RobertaTokenizer"}


def _load_tokenizer(source: Any, unnamed: str) -> Any:
    import transformers

    folder = Path(source)
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    bare = not (folder / "tokenizer.json").is_file() and (folder / "vocab.json").is_file()
    name = config.get("tokenizer_class") or (unnamed if bare else None)
    try:
        if name in _TOKENIZERS:
            _wants_vocabulary(folder)
            return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
        # Class names differ between versions; every other class is one file that the tokenizers library reads.
        if (folder / "tokenizer.json").is_file():
            plain = {
                k: v
                for k, v in config.items()
                if k == "model_max_length" or (k.endswith("_token") and isinstance(v, str))
            }
            return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **plain)
    except InputError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise InputError(
            f"{short(folder)}/ cannot be read as a tokenizer ({str(error).splitlines()[0][:160]}); get it again."
        ) from error
    raise InputError(
        f"{short(folder)}/ holds a tokenizer of class {name!r}; wanted {', '.join(_TOKENIZERS)} or a tokenizer.json."
    )


def _wants_vocabulary(folder: Path) -> None:
    # transformers makes an empty vocabulary where files are missing.
    has = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in has and not {"vocab.json", "merges.txt"} <= has:
        raise InputError(f"{short(folder)}/ lacks vocab.json and merges.txt (or tokenizer.json); get it again.")


def _load_scheduler(source: Any) -> Any:
    from diffusers import DDIMScheduler

    path = None if source is None else Path(source) / "scheduler_config.json"
    config = ANIMATEDIFF_SCHEDULE if path is None else read_json(path)
    known = inspect.signature(DDIMScheduler.__init__).parameters
    try:
        return DDIMScheduler(**{k: v for k, v in config.items() if k in known})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path and short(path)} cannot be used ({error}); get it again.") from error
