"""Load OmniAudio: `model.ckpt` as published, a safetensors made of it, or one without what is never used.

Sizes are read off the tensors' shapes, so the smaller models of the paper need no configuration. Weights are strict: a
missing, unknown, misshapen or non-finite one is named. The published loader prints such names and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.flow_transformer import FlowTransformer, FlowTransformerConfig
from ..models.omniaudio import OmniAudio
from ..models.oobleck import Oobleck, OobleckConfig
from ..models.picture_features import PictureEmbedders
from .files import State, problems_of, read_tensors, short
from .kinds import OMNIAUDIO, read_header_of

# Of a whole checkpoint, names below this prefix are the model; its averaged twin is `diffusion_ema.`.
WHOLE = "diffusion."
TRANSFORMER, EMBEDDERS, VAE = "model.model.", "conditioner.", "pretransform.model."
# Weights that the published code builds and never uses: 148 million.
NEVER_USED = re.compile(r"\.cross_attn\.|\.cross_attend_norm\.|\.to_cond_embed\.|\.proj_out\.|\.global_proj\.")
HEAD_WIDTH = 64


def load_omniaudio(
    path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> OmniAudio:
    """Read the model.

    Args:
        dtype: of transformer and embedders; the autoencoder stays in float32.

    Raises:
        InputError: the file is another model, cannot be read, or does not fit itself.
    """
    path = Path(path).expanduser()
    header = read_header_of(path, OMNIAUDIO, "the OmniAudio model")
    with torch.device("meta"):
        networks = networks_of(_named(header.tensors), path)
    state = _named(read_tensors(path, _is_used))
    _refuse_problems(networks, state, path)
    for prefix, network in networks.items():
        own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        network.load_state_dict(own, assign=True)
        network.to(device=device, dtype=torch.float32 if prefix == VAE else dtype).eval().requires_grad_(False)
    return OmniAudio(networks[TRANSFORMER], networks[EMBEDDERS], networks[VAE], name=path.stem)


def networks_of(state: Mapping[str, Tensor], path: Path) -> dict[str, nn.Module]:
    """Make the networks that tensors of these shapes fill, by their prefix.

    Raises:
        InputError: a tensor that tells a size is missing.
    """
    try:
        transformer, features, vae = _sizes(state)
    except (KeyError, IndexError) as error:
        raise InputError(f"{short(path)} lacks {error}: it is no whole OmniAudio model; get it again.") from error
    return {
        TRANSFORMER: FlowTransformer(transformer),
        EMBEDDERS: PictureEmbedders(features, transformer.width),
        VAE: Oobleck(vae),
    }


def _sizes(state: Mapping[str, Tensor]) -> tuple[FlowTransformerConfig, int, OobleckConfig]:
    width, latents = state[f"{TRANSFORMER}transformer.project_in.weight"].shape
    depth = 1 + _last(state, rf"{re.escape(TRANSFORMER)}transformer\.layers\.(\d+)\.")
    features = state[f"{EMBEDDERS}conditioners.video_fov.embedder.0.weight"].shape[1]
    first = state[f"{VAE}encoder.layers.0.weight_v"]
    stages = _last(state, rf"{re.escape(VAE)}encoder\.layers\.(\d+)\.") - 2
    downs = [state[f"{VAE}encoder.layers.{i}.layers.4.weight_v"].shape for i in range(1, stages + 1)]
    stem = state.get(f"{VAE}stem.basis")
    stem_width, frame = (1, 2) if stem is None else stem.shape
    vae = OobleckConfig(
        first.shape[1] // stem_width, first.shape[0], tuple(down[0] // first.shape[0] for down in downs),
        tuple(down[2] // 2 for down in downs), latents, frame // 2, stem_width,
    )  # fmt: skip
    return FlowTransformerConfig(latents, width, width // HEAD_WIDTH, depth), features, vae


def _last(state: Mapping[str, Tensor], pattern: str) -> int:
    """The highest number that a pattern finds at the start of a name."""
    found = [int(match[1]) for match in map(re.compile(pattern).match, state) if match]
    if not found:
        raise KeyError(pattern.replace("\\", "").removesuffix("(d+)."))
    return max(found)


def _is_used(name: str) -> bool:
    return not NEVER_USED.search(name)


def _named(state: Mapping[str, Tensor]) -> State:
    """Names without the checkpoint's prefix, less what is never used."""
    whole = any(name.startswith(WHOLE) for name in state)
    own = {name.replace(WHOLE, ""): t for name, t in state.items() if not whole or name.startswith(WHOLE)}
    return {name: t for name, t in own.items() if _is_used(name)}


def _refuse_problems(networks: Mapping[str, nn.Module], state: State, path: Path) -> None:
    wanted = {prefix + name: t for prefix, network in networks.items() for name, t in network.state_dict().items()}
    # Constants that a file may leave out.
    constants = {name for name in wanted if name.endswith((".beta", ".inv_freq")) and "pretransform" not in name}
    for name in constants - state.keys():
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
