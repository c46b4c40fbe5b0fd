"""Folders of the joint model: the published layout, read and written.

A folder holds `model_index.json` and one subfolder per part (`PARTS`). Weights are safetensors, or `.bin` read with
`weights_only=True`: nothing is unpickled and nothing is downloaded. Loading is strict: a missing, unknown,
misshapen or non-finite weight is named.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..timing import ClipSpec
from .codecs import spatial_stride
from .connectors import ConnectorConfig, Connectors, from_published_state, to_published_state
from .dual_unet import DualUNet

PARTS = (
    "vae_a", "text_encoder_a", "tokenizer_a", "vocoder", "scheduler_a", "unet_a",
    "vae_v", "text_encoder_v", "tokenizer_v", "scheduler_v", "unet_v", "unet_svg",
)  # fmt: skip
# In a folder's model_index.json, beside the parts.
METADATA_KEY = "_con360"
DEFAULT_PICTURE_SIZE = 256
_WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors", "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors",
    "diffusion_pytorch_model.bin", "pytorch_model.bin",
)  # fmt: skip


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
        metadata: what the folder says about itself (`_con360` in model_index.json).
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
        """Lengths of a clip made by this model."""
        halvings = sum(getattr(block, "downsamplers", None) is not None for block in self.unet.unet_a.down_blocks)
        return ClipSpec(seconds, fps, latent_stride_a=spatial_stride(self.vae_a), latent_multiple_a=2**halvings)

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
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> JointModel:
    """Read a joint model from a folder in the published layout.

    Args:
        folder: holds `model_index.json` and the subfolders `PARTS`.
        device, dtype: where to, whatever precision the folder stores.

    Raises:
        InputError: a folder or file is missing or unreadable, or its weights do not fit its configuration.
    """
    folder = Path(folder).expanduser()
    index = _read_index(folder)
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise InputError(f"the model folder {folder} lacks {', '.join(missing)}; it must hold {', '.join(PARTS)}.")
    put = {"device": device, "dtype": dtype}
    unets = DualUNet(_load_unet_v(folder, **put), _load_unet_a(folder, **put), _load_connectors(folder, **put))
    metadata = dict(index.get(METADATA_KEY) or {})
    return JointModel(
        unet=unets.eval().requires_grad_(False),
        vae_v=_load_vae(folder, "vae_v", **put),
        vae_a=_load_vae(folder, "vae_a", **put),
        vocoder=_load_from_transformers(folder, "vocoder", "SpeechT5HifiGan", **put),
        tokenizer_v=_load_tokenizer(folder, "tokenizer_v"),
        text_encoder_v=_load_from_transformers(folder, "text_encoder_v", "CLIPTextModel", **put),
        tokenizer_a=_load_tokenizer(folder, "tokenizer_a"),
        text_encoder_a=_load_from_transformers(folder, "text_encoder_a", "ClapTextModelWithProjection", **put),
        scheduler_v=_load_scheduler(folder, "scheduler_v"),
        scheduler_a=_load_scheduler(folder, "scheduler_a"),
        folder=str(folder),
        name=str(metadata.get("name") or folder.resolve().name),
        metadata=metadata,
    )


def load_part(
    folder: str | Path, part: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Any:
    """One of the small parts of a joint model's folder, where the U-Nets are not needed.

    Args:
        part: `vae_v`, `vae_a`, `text_encoder_v`, `text_encoder_a`, `tokenizer_v` or `tokenizer_a`.

    Raises:
        InputError: as `load_joint_model`.
    """
    folder, put = Path(folder).expanduser(), {"device": device, "dtype": dtype}
    _read_index(folder)
    if part.startswith("tokenizer_"):
        return _load_tokenizer(folder, part)
    if part.startswith("vae_"):
        return _load_vae(folder, part, **put)
    classes = {"text_encoder_v": "CLIPTextModel", "text_encoder_a": "ClapTextModelWithProjection"}
    return _load_from_transformers(folder, part, classes[part], **put)


def save_joint_model(model: JointModel, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a joint model in the published layout, safetensors under the published names.

    All files are written beside the folder first and then moved into it, so that none is ever half-written.

    Args:
        dtype: precision of the stored weights; None keeps the model's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=folder.parent))
    try:
        _write_parts(model, staging, dtype)
        for source in sorted(p for p in staging.rglob("*") if p.is_file()):
            target = folder / source.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    finally:
        shutil.rmtree(staging)


def _write_parts(model: JointModel, folder: Path, dtype: torch.dtype | None) -> None:
    modules = {"unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a, "vae_v": model.vae_v, "vae_a": model.vae_a}
    for name, module in modules.items():
        module.save_config(folder / name)
        _write_weights(folder / name / _WEIGHT_FILES[0], module.state_dict(), dtype)
    if model.unet.connectors is not None:
        _write_json(folder / "unet_svg" / "config.json", model.unet.connectors.config.to_published())
        _write_weights(folder / "unet_svg" / _WEIGHT_FILES[0], to_published_state(model.unet.connectors), dtype)
    for name in ("vocoder", "text_encoder_v", "text_encoder_a"):
        module = getattr(model, name)
        _write_json(
            folder / name / "config.json", {**module.config.to_dict(), "architectures": [type(module).__name__]}
        )
        _write_weights(folder / name / _WEIGHT_FILES[1], _stored_names(name, module.state_dict()), dtype)
    for name in ("tokenizer_v", "tokenizer_a", "scheduler_v", "scheduler_a"):
        getattr(model, name).save_pretrained(folder / name)
    for name in ("tokenizer_v", "tokenizer_a"):
        path = folder / name / "tokenizer_config.json"
        _write_json(path, {**_read_json(path), "tokenizer_class": _class_name(getattr(model, name))})
    _write_json(folder / "model_index.json", _index_of(model))


def _index_of(model: JointModel) -> dict[str, Any]:
    """model_index.json as diffusers writes it: each part's library and class."""
    index: dict[str, Any] = {"_class_name": "VideoAudioGenWithSVGPipeline"}
    parts = {**vars(model), "unet_v": model.unet.unet_v, "unet_a": model.unet.unet_a}
    for name in sorted(PARTS[:-1]):
        index[name] = [type(parts[name]).__module__.split(".")[0], _class_name(parts[name])]
    index["unet_svg"] = ["va_core.model.svg.unet_svg", "UNetModelSVG"]
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


def _read_index(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; give a folder that holds model_index.json.")
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder} holds no model_index.json, so it is no joint model; choose the folder that does.")
    return _read_json(folder / "model_index.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{_short(path)} cannot be read ({error}); the model folder is incomplete or damaged."
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{_short(path)} holds a {type(values).__name__}, wanted a JSON object; get the folder again.")
    return values


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of one part, from safetensors or `.bin`, whole or in shards.

    Raises:
        InputError: no weight file, or one that is cut, damaged or holds anything but tensors.
    """
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return _read_weight_file(folder / name)
        shards = folder / f"{name}.index.json"
        if shards.is_file():
            files = sorted(set(_read_json(shards)["weight_map"].values()))
            return {key: t for file in files for key, t in _read_weight_file(folder / file).items()}
    raise InputError(f"{folder.name}/ of the model folder holds no weights; wanted one of {', '.join(_WEIGHT_FILES)}.")


def _read_weight_file(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file fails in torch or safetensors with whatever its bytes happen to provoke.
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:160] or type(error).__name__
        raise InputError(f"{_short(path)} cannot be read ({reason}); it is cut or damaged, get it again.") from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{_short(path)} is not a plain set of weights; wanted a state dict.")
    return state


def check_weights(where: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Compare weights with a network before anything is copied.

    Raises:
        InputError: names up to three weights that are missing, unknown, misshapen, or hold NaN or infinity.
    """
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in wanted]
    for name, t in state.items():
        if name in wanted and t.shape != wanted[name].shape:
            problems.append(f"{name} has shape {tuple(t.shape)}, wanted {tuple(wanted[name].shape)}")
        elif not torch.isfinite(t).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"the weights in {where}/ do not fit its configuration: {'; '.join(problems[:3])}{more}.")


def _fill(where: str, module: nn.Module, state: Mapping[str, Tensor], device: Any, dtype: torch.dtype) -> nn.Module:
    """Give a network made on the meta device its weights."""
    check_weights(where, module, state)
    cast = {k: t.to(device, dtype if t.is_floating_point() else t.dtype) for k, t in state.items()}
    module.load_state_dict(cast, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _load_from_diffusers(folder: Path, part: str, cls: type, device: Any, dtype: torch.dtype) -> nn.Module:
    config = _read_json(folder / part / "config.json")
    module = _construct(part, lambda: cls.from_config(config))
    return _fill(part, module, read_weights(folder / part), device, dtype)


def _construct(part: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.device("meta"):
            return make()
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{part}/config.json cannot be used ({error}); the file is damaged or of another model."
        ) from error


def _load_unet_v(folder: Path, device: Any, dtype: torch.dtype) -> nn.Module:
    from diffusers import UNetMotionModel

    return _load_from_diffusers(folder, "unet_v", UNetMotionModel, device, dtype)


def _load_unet_a(folder: Path, device: Any, dtype: torch.dtype) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return _load_from_diffusers(folder, "unet_a", UNet2DConditionModel, device, dtype)


def _load_vae(folder: Path, part: str, device: Any, dtype: torch.dtype) -> nn.Module:
    from diffusers import AutoencoderKL

    return _load_from_diffusers(folder, part, AutoencoderKL, device, dtype)


def _load_connectors(folder: Path, device: Any, dtype: torch.dtype) -> Connectors:
    config = ConnectorConfig.from_published(_read_json(folder / "unet_svg" / "config.json"))
    connectors = _construct("unet_svg", lambda: Connectors(config))
    state = from_published_state(config, read_weights(folder / "unet_svg"))
    return _fill("unet_svg", connectors, state, device, dtype)


def _load_from_transformers(folder: Path, part: str, cls_name: str, device: Any, dtype: torch.dtype) -> nn.Module:
    import transformers

    cls, config = getattr(transformers, cls_name), _read_json(folder / part / "config.json")
    try:
        # Made in memory and not on the meta device: these networks hold constants that no file stores.
        module = cls(cls.config_class.from_dict(config))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise InputError(f"{part}/config.json cannot be used ({error}); it is damaged or of another model.") from error
    state = _installed_names(module, read_weights(folder / part))
    check_weights(part, module, state)
    module.load_state_dict(state, strict=True)
    return module.to(device=device, dtype=dtype).eval().requires_grad_(False)


# CLIP's text model is stored under this name; transformers 5 calls its parameters without it, version 4 with it.
_TEXT_PREFIX = "text_model."
# Constants that old versions stored as if they were weights.
_STORED_CONSTANTS = ("position_ids", "token_type_ids")


def _installed_names(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a text encoder under the names that the installed transformers uses."""
    wanted = module.state_dict()
    kept = {name: t for name, t in state.items() if name in wanted or not name.endswith(_STORED_CONSTANTS)}
    if not any(name.startswith(_TEXT_PREFIX) for name in wanted):
        return {name.removeprefix(_TEXT_PREFIX): t for name, t in kept.items()}
    return kept


def _stored_names(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if name != "text_encoder_v" or any(key.startswith(_TEXT_PREFIX) for key in state):
        return dict(state)
    return {_TEXT_PREFIX + key: t for key, t in state.items()}


_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "RobertaTokenizer", "RobertaTokenizerFast")


def _load_tokenizer(folder: Path, part: str) -> Any:
    import transformers

    config_path = folder / part / "tokenizer_config.json"
    config = _read_json(config_path) if config_path.is_file() else {}
    name = config.get("tokenizer_class")
    try:
        if name in _TOKENIZERS:
            return getattr(transformers, name).from_pretrained(folder / part, local_files_only=True)
        # Any other class is one file that the tokenizers library reads, whatever the version that wrote it called it.
        if (folder / part / "tokenizer.json").is_file():
            plain = {
                k: v
                for k, v in config.items()
                if k == "model_max_length" or (k.endswith("_token") and isinstance(v, str))
            }
            return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / part / "tokenizer.json"), **plain)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise InputError(
            f"{part}/ cannot be read as a tokenizer ({str(error).splitlines()[0][:160]}); get it again."
        ) from error
    raise InputError(
        f"{part}/ holds a tokenizer of class {name!r}; wanted {', '.join(_TOKENIZERS)} or a tokenizer.json."
    )


def _load_scheduler(folder: Path, part: str) -> Any:
    from diffusers import DDIMScheduler

    config = _read_json(folder / part / "scheduler_config.json")
    known = inspect.signature(DDIMScheduler.__init__).parameters
    try:
        return DDIMScheduler(**{k: v for k, v in config.items() if k in known})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"{part}/scheduler_config.json cannot be used ({error}); get it again.") from error
