"""Load OmniAudio: `model.ckpt` as published, a safetensors made of it, or one without what is never used.

Sizes are read off the tensors' shapes. Weights are strict: a missing, unknown, misshapen or non-finite one is named.
The published loader prints such names and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.flow_transformer import SIZES, FlowTransformer, FlowTransformerConfig
from ..models.omniaudio import TRAINED_S, OmniAudio, PanoramaUse
from ..models.oobleck import Oobleck, OobleckConfig
from ..models.picture_features import PictureEmbedders
from .files import State, problems_of, read_tensors, short
from .kinds import OMNIAUDIO, read_header_of
from .places import config_of

# Of a whole checkpoint, names below this prefix are the model; its averaged twin is `diffusion_ema.`.
WHOLE = "diffusion."
TRANSFORMER, EMBEDDERS, VAE = "model.model.", "conditioner.", "pretransform.model."
# Weights that the published code builds and never uses: 148 million.
NEVER_USED = re.compile(r"\.cross_attn\.|\.cross_attend_norm\.|\.to_cond_embed\.|\.proj_out\.|\.global_proj\.")
# Rounded to half, these turn the late rows and the times by degrees.
IN_FLOAT32 = ("inv_freq", "timestep_features.weight")
HEAD_WIDTH, CHANNELS = 64, 4


@dataclass(frozen=True)
class Facts:
    """What no tensor's shape tells; the defaults are those of the published model.

    Args:
        sample_rate_hz: of the sound.
        trained_s: length that the model was trained on.
        panorama: as `OmniAudio` has it.
    """

    sample_rate_hz: int = 44100
    trained_s: float = TRAINED_S
    panorama: PanoramaUse = "maximum"


def load_omniaudio(
    path: str | Path, facts: Facts | None = None, *, device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> OmniAudio:  # fmt: skip
    """Read the model.

    Args:
        facts: None reads them from `config.json` beside the file, in the published form or ours. Without one, a model
            of one of the paper's sizes has the published ones.
        dtype: of transformer and embedders; the autoencoder stays in float32.

    Raises:
        InputError: the file is another model, cannot be read, does not fit itself, or nothing tells its facts.
    """
    path = Path(path).expanduser()
    header = read_header_of(path, OMNIAUDIO, "the OmniAudio model")
    with torch.device("meta"):
        networks = networks_of(used_tensors(header.tensors), path)
    facts = facts or _facts_of(path, networks[TRANSFORMER].config)
    state = used_tensors(read_tensors(path, is_used))
    _refuse_problems(networks, state, path)
    for prefix, network in networks.items():
        kept = torch.float32 if prefix == VAE else dtype
        own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        own = {name: t.to(device, torch.float32 if name.endswith(IN_FLOAT32) else kept) for name, t in own.items()}
        network.load_state_dict(own, assign=True)
        network.to(device).eval().requires_grad_(False)
    return OmniAudio(
        networks[TRANSFORMER], networks[EMBEDDERS], networks[VAE], facts.sample_rate_hz, facts.trained_s,
        facts.panorama, path.stem,
    )  # fmt: skip


def facts_of_config(values: Mapping[str, Any], path: Path) -> Facts | None:
    """Facts of a `config.json`, the published one or ours; None where it is another model's.

    Raises:
        InputError: they are no positive numbers, or the panorama is used in an unknown way.
    """
    if {"sample_rate", "sample_size"} <= values.keys():
        rate, size = values["sample_rate"], values["sample_size"]
        values = {"sample_rate_hz": rate, "trained_s": size / rate if _is_positive(size, rate) else None}
    if not {"sample_rate_hz", "trained_s"} <= values.keys():
        return None
    rate, length, panorama = values["sample_rate_hz"], values["trained_s"], values.get("panorama", "maximum")
    if not _is_positive(rate, length) or panorama not in ("maximum", "per_frame"):
        raise InputError(
            f"{short(path)} says sample_rate_hz {rate!r}, trained_s {length!r}, panorama {panorama!r}; wanted two "
            f"positive numbers, and 'maximum' or 'per_frame'."
        )
    return Facts(int(rate), float(length), panorama)


def _is_positive(*values: Any) -> bool:
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 < v < float("inf") for v in values)


def _facts_of(path: Path, config: FlowTransformerConfig) -> Facts:
    beside = path.with_name("config.json")
    facts = facts_of_config(config_of(path.parent), beside)
    if facts is None and config not in SIZES.values():
        raise InputError(
            f"{short(path)} has {config.depth} layers of {config.width}, none of OmniAudio's sizes, and no weight "
            "tells how long the sounds were that it was trained on. Put a config.json beside it: "
            f'{{"sample_rate_hz": 44100, "trained_s": 10}}.'
        )
    return facts or Facts()


def networks_of(state: Mapping[str, Tensor], path: Path) -> dict[str, nn.Module]:
    """Make the networks that tensors of these shapes fill, by their prefix.

    Raises:
        InputError: a tensor that tells a size is missing or misshapen, or the sound has no four channels.
    """
    try:
        transformer, features, vae = _sizes(state)
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{short(path)} tells no sizes ({error}): it is no whole OmniAudio model; get it again."
        ) from error
    if vae.channels != CHANNELS:
        raise InputError(
            f"{short(path)} makes sound of {vae.channels} channels; wanted {CHANNELS}, Ambisonics. Choose another file."
        )
    return {
        TRANSFORMER: FlowTransformer(transformer),
        EMBEDDERS: PictureEmbedders(features, transformer.width),
        VAE: Oobleck(vae),
    }


def _sizes(state: Mapping[str, Tensor]) -> tuple[FlowTransformerConfig, int, OobleckConfig]:
    width, latents = state[f"{TRANSFORMER}transformer.project_in.weight"].shape
    depth = 1 + _last(state, rf"{re.escape(TRANSFORMER)}transformer\.layers\.(\d+)\.")
    turns = state.get(f"{TRANSFORMER}transformer.rotary_pos_emb.inv_freq")
    heads = width // (HEAD_WIDTH if turns is None else 4 * len(turns))
    _, features = state[f"{EMBEDDERS}conditioners.video_fov.embedder.0.weight"].shape
    return FlowTransformerConfig(latents, width, heads, depth), features, _vae_sizes(state, latents)


def _vae_sizes(state: Mapping[str, Tensor], latents: int) -> OobleckConfig:
    width, outer, _ = state[f"{VAE}encoder.layers.0.weight_v"].shape
    stages = _last(state, rf"{re.escape(VAE)}encoder\.layers\.(\d+)\.") - 2
    downs = [state[f"{VAE}encoder.layers.{i}.layers.4.weight_v"].shape for i in range(1, stages + 1)]
    basis = state.get(f"{VAE}stem.basis")
    stem_width, twice_hop = (1, 2) if basis is None else basis.shape
    return OobleckConfig(
        outer // stem_width, width, tuple(down[0] // width for down in downs),
        tuple(_stride(down[2]) for down in downs), latents, twice_hop // 2, stem_width,
    )  # fmt: skip


def _stride(kernel: int) -> int:
    return kernel // 2 if kernel != 3 else 1


def _last(state: Mapping[str, Tensor], pattern: str) -> int:
    """The highest number that a pattern finds at the start of a name."""
    found = [int(match[1]) for match in map(re.compile(pattern).match, state) if match]
    if not found:
        raise KeyError(pattern.replace("\\", "").removesuffix("(d+)."))
    return max(found)


def is_used(name: str) -> bool:
    return not NEVER_USED.search(name)


def used_tensors(state: Mapping[str, Tensor]) -> State:
    """Tensors of the model by their names without the checkpoint's prefix, less what is never used."""
    whole = any(name.startswith(WHOLE) for name in state)
    own = {name.replace(WHOLE, ""): t for name, t in state.items() if not whole or name.startswith(WHOLE)}
    return {name: t for name, t in own.items() if is_used(name)}


def _refuse_problems(networks: Mapping[str, nn.Module], state: State, path: Path) -> None:
    wanted = {prefix + name: t for prefix, network in networks.items() for name, t in network.state_dict().items()}
    # Constants that a file may leave out, or hold rounded.
    constants = {name for name in wanted if name.endswith((".beta", ".inv_freq")) and "pretransform" not in name}
    for name in constants:
        if name not in state or state[name].dtype != torch.float32 and state[name].shape == wanted[name].shape:
            state[name] = _constant(wanted[name], name)
    problems = list(problems_of(wanted, state))
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"{short(path)} does not fit: {'; '.join(problems[:3])}{more}. Get it again.")


def _constant(like: Tensor, name: str) -> Tensor:
    if name.endswith(".beta"):
        return torch.zeros(like.shape)
    turned = 2 * like.shape[0]
    return 10000.0 ** -(torch.arange(0, turned, 2).float() / turned)
