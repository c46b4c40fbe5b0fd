"""Joint models: read from whatever describes them, written in the published layout.

`parts.py` says which folder or file holds each part, `networks.py` makes and checks the networks. Weights are
safetensors, or pickles read with `weights_only=True`: nothing is unpickled and nothing is downloaded. Loading is
strict: a missing, unknown, misshapen or non-finite weight is named.
"""

from __future__ import annotations

import inspect
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..media.files import put_folder
from ..timing import ClipSpec
from .checkpoints import WEIGHT_NAMES, read_json, short
from .codecs import spatial_stride
from .connectors import ConnectorConfig, Connectors, to_published_state
from .dual_unet import DualUNet
from .networks import TEXT_MODEL, Network, check_fit, networks_of
from .parts import INDEX, METADATA_KEY, PARTS, ModelParts, model_parts
from .precision import part_dtype

DEFAULT_PICTURE_SIZE = 256
# The schedule on which AnimateDiff's motion modules were trained.
ANIMATEDIFF_SCHEDULE = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
    "timestep_spacing": "linspace",
}  # fmt: skip


@dataclass(frozen=True)
class JointModel:
    """Everything that turns two captions' worth of text and noise into a sounding clip.

    Args:
        unet: the two U-Nets with their connectors.
        vae_v, vae_a: diffusers' AutoencoderKL for frames and for log-mels.
        vocoder: SpeechT5HifiGan.
        tokenizer_v, text_encoder_v: CLIP.
        tokenizer_a, text_encoder_a: CLAP with projection.
        scheduler_v, scheduler_a: DDIMScheduler; the sampler reads their configurations.
        folder: where it was read from, empty for a model made in memory.
        name: for people and for control files.
        metadata: what the folder says about itself (`_con360` in model_index.json, or the manifest). `draws` is what a
            model that knows one kind of picture draws, whatever it is asked for.
        notices: sentences for people about what this combination of parts does.
    """

    unet: DualUNet
    vae_v: nn.Module
    vae_a: nn.Module
    vocoder: nn.Module
    tokenizer_v: Any
    text_encoder_v: nn.Module
    tokenizer_a: Any
    text_encoder_a: nn.Module
    scheduler_v: Any
    scheduler_a: Any
    folder: str = ""
    name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return self.unet.unet_v.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.unet_v.dtype

    @property
    def picture_size_px(self) -> int:
        """Side of the square picture: what the folder says, else the U-Net's own size up to the published 256."""
        native = self.unet.unet_v.config.sample_size * spatial_stride(self.vae_v)
        return int(self.metadata.get("picture_size_px") or min(DEFAULT_PICTURE_SIZE, native))

    def clip_spec(self, seconds: float, fps: float = 8.0) -> ClipSpec:
        """Lengths of a clip made by this model.

        Raises:
            InputError: more frames than the motion modules know positions for.
        """
        halvings = sum(getattr(block, "downsamplers", None) is not None for block in self.unet.unet_a.down_blocks)
        spec = ClipSpec(seconds, fps, latent_stride_a=spatial_stride(self.vae_a), latent_multiple_a=2**halvings)
        longest = _longest(self.unet.unet_v.config.motion_max_seq_length)
        if spec.num_frames > longest:
            raise InputError(
                f"{seconds:g} s are {spec.num_frames} frames and this model's motion modules take {longest}; ask for "
                f"{longest / fps:g} s or less."
            )
        return spec

    def latent_shape_v(self, spec: ClipSpec) -> tuple[int, int, int, int]:
        """(channels, T, h, w)."""
        side = self.picture_size_px // spatial_stride(self.vae_v)
        return self.unet.unet_v.config.in_channels, spec.num_frames, side, side

    def latent_shape_a(self, spec: ClipSpec) -> tuple[int, int, int]:
        """(channels, padded rows, frequencies)."""
        bands = self.vocoder.config.model_in_dim // spatial_stride(self.vae_a)
        return self.unet.unet_a.config.in_channels, spec.num_latent_rows_padded, bands

    def site_shapes(self, spec: ClipSpec) -> dict[str, tuple[int, ...]]:
        """Shapes of the features at the FiLM sites for a clip."""
        return self.unet.site_shapes(self.latent_shape_v(spec)[1:], self.latent_shape_a(spec)[1:])


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
        model: a folder in the published layout, one with a manifest, a manifest, or what `model_parts` made of them.
        picks: part to path, over what `model` names (`parts.PICKS`).
        device, dtype: where to, whatever precision the files store; the codecs stay in float32 (`precision`).

    Raises:
        InputError: a folder or file is missing, unreadable or of another kind, or weights do not fit.
    """
    parts = model if isinstance(model, ModelParts) else model_parts(model, picks)
    networks = networks_of(parts.sources)
    empty = check_model(parts, networks)
    tokenizers = {name: _load_tokenizer(parts.sources[name], cls) for name, cls in _VOCABULARIES.items()}
    schedulers = {name: _load_scheduler(parts.sources.get(name)) for name in ("scheduler_v", "scheduler_a")}
    loaded = {
        part: network.load(empty.pop(part), device, part_dtype(part, dtype)) for part, network in networks.items()
    }
    unet_v, unet_a, connectors = (loaded.pop(name, None) for name in ("unet_v", "unet_a", "unet_svg"))
    if parts.new_connectors:
        connectors = _new_connectors(unet_v, unet_a).to(device=device, dtype=dtype)
    unet = DualUNet(unet_v, unet_a, connectors).eval().requires_grad_(False)
    own = {"folder": parts.folder, "name": parts.name, "metadata": parts.metadata, "notices": parts.notices}
    return JointModel(unet=unet, **loaded, **tokenizers, **schedulers, **own)


def load_part(
    model: str | Path | ModelParts,
    part: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """One of the small parts of a joint model, where the U-Nets are not needed.

    Args:
        model: as for `load_joint_model`.
        part: `vae_v`, `vae_a`, `vocoder`, `text_encoder_v`, `text_encoder_a`, `tokenizer_v` or `tokenizer_a`.
        device, dtype: where to; as asked, codecs too.

    Raises:
        InputError: as `load_joint_model`.
    """
    parts = model if isinstance(model, ModelParts) else model_parts(model)
    if part in _VOCABULARIES:
        return _load_tokenizer(parts.sources[part], _VOCABULARIES[part])
    network = networks_of({part: parts.sources[part]})[part]
    return network.load(network.check(), device, dtype)


def check_model(parts: ModelParts, networks: Mapping[str, Network] | None = None) -> dict[str, nn.Module]:
    """That every part of a model fits, from headers alone; gives the networks without weights.

    Raises:
        InputError: which part, and what is wrong with it.
    """
    networks = networks_of(parts.sources) if networks is None else networks
    empty = {part: network.check() for part, network in networks.items()}
    check_fit(empty)
    return empty


def _longest(positions: int | tuple[int, ...]) -> int:
    return positions if isinstance(positions, int) else min(positions)


def _new_connectors(unet_v: nn.Module, unet_a: nn.Module) -> Connectors:
    """Untrained connectors: the identity, by their zero-initialised projections; the rest from a fixed seed."""
    config = ConnectorConfig.for_unets(unet_v, unet_a)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Connectors(config)


def save_joint_model(model: JointModel, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a joint model in the published layout, safetensors under the published names.

    The folder appears whole, or in place of the one before; what else lay in that one stays.

    Args:
        dtype: precision of the stored weights; None keeps the model's.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        _write_parts(model, staging, dtype)
        for other in folder.iterdir() if folder.is_dir() else ():
            if not (staging / other.name).exists():
                (shutil.copytree if other.is_dir() else shutil.copy2)(other, staging / other.name)
        put_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_parts(model: JointModel, folder: Path, dtype: torch.dtype | None) -> None:
    modules = {"unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a, "vae_v": model.vae_v, "vae_a": model.vae_a}
    for name, module in modules.items():
        module.save_config(folder / name)
        _write_weights(folder / name / WEIGHT_NAMES[0], module.state_dict(), dtype)
    if model.unet.connectors is not None:
        _write_json(folder / "unet_svg" / "config.json", model.unet.connectors.config.to_published())
        _write_weights(folder / "unet_svg" / WEIGHT_NAMES[0], to_published_state(model.unet.connectors), dtype)
    for name in ("vocoder", "text_encoder_v", "text_encoder_a"):
        module = getattr(model, name)
        _write_json(
            folder / name / "config.json", {**module.config.to_dict(), "architectures": [type(module).__name__]}
        )
        _write_weights(folder / name / WEIGHT_NAMES[1], _stored_names(name, module.state_dict()), dtype)
    for name in ("tokenizer_v", "tokenizer_a", "scheduler_v", "scheduler_a"):
        getattr(model, name).save_pretrained(folder / name)
    for name in ("tokenizer_v", "tokenizer_a"):
        path = folder / name / "tokenizer_config.json"
        _write_json(path, {**read_json(path), "tokenizer_class": _class_name(getattr(model, name))})
    _write_json(folder / INDEX, _index_of(model))


def _index_of(model: JointModel) -> dict[str, Any]:
    """model_index.json as diffusers writes it: each part's library and class."""
    index: dict[str, Any] = {"_class_name": "VideoAudioGenWithSVGPipeline"}
    parts = {**vars(model), "unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a}
    for name in sorted(PARTS[:-1]):
        index[name] = [type(parts[name]).__module__.split(".")[0], _class_name(parts[name])]
    connected = model.unet.connectors is not None
    index["unet_svg"] = ["va_core.model.svg.unet_svg", "UNetModelSVG"] if connected else [None, None]
    if model.metadata:
        index[METADATA_KEY] = model.metadata
    return index


def _class_name(part: Any) -> str:
    # transformers 5 renamed the class; version 4 knows this name alone, version 5 knows both.
    name = type(part).__name__
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name


def _stored(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    # Cloned, because safetensors refuses tensors that share memory.
    return {
        name: t.detach().to("cpu", dtype if dtype and t.is_floating_point() else t.dtype).contiguous().clone()
        for name, t in state.items()
    }


def _write_weights(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_stored(state, dtype), path, metadata={"format": "pt"})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _stored_names(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if name != "text_encoder_v" or any(key.startswith(TEXT_MODEL) for key in state):
        return dict(state)
    return {TEXT_MODEL + key: t for key, t in state.items()}


_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "RobertaTokenizer", "RobertaTokenizerFast")
# What a folder with a bare vocabulary holds.
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
        # Any other class is one file that the tokenizers library reads, whatever the version that wrote it called it.
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
    # transformers makes an empty vocabulary of files that are not there.
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
