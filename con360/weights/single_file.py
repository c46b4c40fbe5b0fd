"""Single-file weights as ComfyUI's users keep them: SD 1.5 checkpoints, their VAEs, AnimateDiff motion modules.

The names inside are those of the programs that trained them. diffusers' own converters translate them; the
configurations, which such files do not carry, follow from the shapes. Both work on empty tensors just as well, so a
file is known to fit before it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import InputError
from .files import State
from .kinds import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX

# SD 1.x counts eight heads per block and 64 channels per head of its text encoder; no shape tells.
UNET_HEADS = 8
TEXT_HEAD_WIDTH = 64
MOTION_HEADS = 8
MOTION_FRAMES = 32
VAE_SCALING_FACTOR = 0.18215

# SD 1.5's text model stands under this name in every layout.
_TEXT_MODEL = "text_model."

# AnimateDiff's names of a transformer block, and diffusers'.
_MOTION_NAMES = (
    (".temporal_transformer", ""),
    (".attention_blocks.0.pos_encoder.pe", ".pos_embed.pe"),
    (".attention_blocks.0", ".attn1"),
    (".attention_blocks.1", ".attn2"),
    (".norms.0", ".norm1"),
    (".norms.1", ".norm2"),
    (".ff_norm", ".norm3"),
)


# ---- SD 1.5


def unet_config(state: State) -> dict[str, Any]:
    """Configuration of diffusers' UNet2DConditionModel, from the checkpoint's tensors."""
    blocks = _count(state, UNET_PREFIX + "input_blocks.")
    layers, widths = blocks // 4 - 1, []
    for level in range(4):
        first = f"{UNET_PREFIX}input_blocks.{1 + level * (layers + 1)}.0.in_layers.2.weight"
        widths.append(_tensor(state, first).shape[0])
    text = _tensor(state, f"{UNET_PREFIX}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    return {
        "sample_size": 64,
        "in_channels": _tensor(state, UNET_PREFIX + "input_blocks.0.0.weight").shape[1],
        "out_channels": _tensor(state, UNET_PREFIX + "out.2.weight").shape[0],
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "cross_attention_dim": text.shape[1],
        "attention_head_dim": UNET_HEADS,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    }


def convert_unet(state: State) -> State:
    """The checkpoint's U-Net under diffusers' names.

    Raises:
        InputError: it holds weights that an SD 1.5 U-Net lacks.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    own = _below(state, UNET_PREFIX, keep_prefix=True)
    return _complete("U-Net", own, convert_ldm_unet_checkpoint(own, unet_config(state)))


def vae_config(state: State) -> dict[str, Any]:
    """Configuration of diffusers' AutoencoderKL, from the checkpoint's or VAE file's tensors."""
    prefix = _vae_prefix(state)
    levels = _count(state, prefix + "encoder.down.")
    widths = [_tensor(state, f"{prefix}encoder.down.{i}.block.0.conv1.weight").shape[0] for i in range(levels)]
    return {
        "in_channels": _tensor(state, prefix + "encoder.conv_in.weight").shape[1],
        "out_channels": _tensor(state, prefix + "decoder.conv_out.weight").shape[0],
        "latent_channels": _tensor(state, prefix + "post_quant_conv.weight").shape[0],
        "block_out_channels": tuple(widths),
        "layers_per_block": _count(state, prefix + "encoder.down.0.block."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "sample_size": 512,
        "scaling_factor": VAE_SCALING_FACTOR,
    }


def convert_vae(state: State) -> State:
    """The VAE of a checkpoint, or a VAE file, under diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    own = {name.removeprefix(VAE_PREFIX): t for name, t in state.items() if is_vae_name(_vae_prefix(state))(name)}
    # Training leftovers of some VAE files.
    own = {name: t for name, t in own.items() if not name.startswith(("loss.", "model_ema."))}
    return _complete("VAE", own, convert_ldm_vae_checkpoint(own, vae_config(own)))


def is_vae_name(prefix: str = VAE_PREFIX) -> Callable[[str], bool]:
    return lambda name: name.startswith(prefix)


def text_config(state: State) -> dict[str, Any]:
    """Configuration of transformers' CLIPTextModel, from the checkpoint's tensors."""
    own = convert_text(state)
    tokens = _tensor(own, _TEXT_MODEL + "embeddings.token_embedding.weight")
    width = tokens.shape[1]
    return {
        "vocab_size": tokens.shape[0],
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": _tensor(own, _TEXT_MODEL + "encoder.layers.0.mlp.fc1.weight").shape[0],
        "num_hidden_layers": _count(own, _TEXT_MODEL + "encoder.layers."),
        "num_attention_heads": max(1, width // TEXT_HEAD_WIDTH),
        "max_position_embeddings": _tensor(own, _TEXT_MODEL + "embeddings.position_embedding.weight").shape[0],
    }


def convert_text(state: State) -> State:
    """The checkpoint's text encoder under transformers' names."""
    own = _below(state, TEXT_PREFIX)
    bare = not any(name.startswith(_TEXT_MODEL) for name in own)
    return {_TEXT_MODEL + name if bare else name: t for name, t in own.items()}


# ---- AnimateDiff


def motion_config(state: State) -> dict[str, Any]:
    """Configuration of diffusers' MotionAdapter, from a motion module's tensors (any of the two layouts)."""
    state = convert_motion(state)
    norms = [f"down_blocks.{i}.motion_modules.0.norm.weight" for i in range(_count(state, "down_blocks."))]
    return {
        "block_out_channels": tuple(_tensor(state, name).shape[0] for name in norms),
        "motion_layers_per_block": _count(state, "down_blocks.0.motion_modules."),
        "motion_num_attention_heads": MOTION_HEADS,
        "motion_max_seq_length": max(t.shape[1] for name, t in state.items() if name.endswith("pos_embed.pe")),
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in state),
    }


def convert_motion(state: State) -> State:
    """A motion module under diffusers' names, with the positional table that some files leave out."""
    renamed: State = {}
    for name, t in state.items():
        name = name.removeprefix("module.")
        if ".attention_blocks.1.pos_encoder." in name:
            continue  # the same table as the first attention's
        for old, new in _MOTION_NAMES:
            name = name.replace(old, new)
        renamed[name] = t
    return {**_positions(renamed), **renamed}


def _positions(state: State) -> State:
    """Positional tables `[1, 32, width]` of every motion block: constants, not weights."""
    from diffusers.models.embeddings import SinusoidalPositionalEmbedding

    blocks = {name.removesuffix("norm1.weight"): t for name, t in state.items() if name.endswith(".norm1.weight")}
    tables = {width: SinusoidalPositionalEmbedding(width, MOTION_FRAMES).pe for width in _widths(blocks)}
    return {f"{block}pos_embed.pe": tables[t.shape[0]].to(t.device) for block, t in blocks.items()}


def _widths(state: State) -> set[int]:
    return {t.shape[0] for t in state.values()}


# ---- shared


def _below(state: State, prefix: str, keep_prefix: bool = False) -> State:
    return {name if keep_prefix else name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}


def _vae_prefix(state: State) -> str:
    return VAE_PREFIX if any(name.startswith(VAE_PREFIX) for name in state) else ""


def _count(state: State, prefix: str) -> int:
    """Count the different numbers that follow a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _tensor(state: State, name: str) -> Tensor:
    if name not in state:
        raise InputError(f"the file lacks {name}; it is incomplete, or of another kind of model.")
    return state[name]


def _complete(what: str, before: State, after: State) -> State:
    # The converters take what they know and leave the rest without a word.
    if len(after) != len(before):
        raise InputError(
            f"the file's {what} has {len(before)} weights of which {len(after)} have a place in SD 1.5's; it is "
            f"another kind of model."
        )
    return after
