"""Translate connector weights between their published names and ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from ..models.connector_config import MODALITIES, SITES, ConnectorConfig, SideConfig
from ..models.connectors import Connectors

# Published names and ours, part by part. A name stands for all parameters beneath it. `_module_names` says where each
# part sits; nothing else knows a published name.
_RESIDUAL = (
    ("in_layers.0", "norm_in"),
    ("in_layers.2", "conv_in"),
    ("emb_layers.1", "time"),
    ("out_layers.0", "norm_out"),
    ("out_layers.3", "conv_out"),
    ("skip_connection", "skip"),
)
_TEMPORAL = (
    ("temporal_rel_pos_bias.net.0.0", "position_bias.layers.0"),
    ("temporal_rel_pos_bias.net.1.0", "position_bias.layers.1"),
    ("temporal_rel_pos_bias.net.2", "position_bias.layers.2"),
    ("temporal_attn.norm", "attend.gain"),
    ("temporal_attn.to_q", "attend.to_q"),
    ("temporal_attn.to_kv", "attend.to_kv"),
    ("temporal_attn.to_out", "attend.to_out"),
    ("ff.proj_in.0", "feed_forward.expand"),
    ("ff.proj_out.0", "feed_forward.gain"),
    ("ff.proj_out.1", "feed_forward.project"),
    ("frameshiftblock.out_layers.0", "frame_shift.norm"),
    ("frameshiftblock.out_layers.2", "frame_shift.conv"),
)
_HEAD = (("0", "norm"), ("2", "conv"))
_CONNECTOR = (("norm", "norm"), ("proj_in", "proj_in"), ("proj_out", "proj_out"))
_NORMS = tuple((f"norm{i}", f"norm{i}") for i in (1, 2, 3))
_FEED_FORWARD = (("net.0.proj", "expand"), ("net.2", "project"))
_ATTENTION = (("to_q", "to_q"), ("to_k", "to_k"), ("to_v", "to_v"), ("to_out.0", "to_out"))


def _under(published: str, ours: str, *tables: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{published}.{p}", f"{ours}.{o}") for table in tables for p, o in table)


_BLOCKS = {
    "additive": (
        *_NORMS,
        ("attn_c.norm", "attend_cross.norm"),
        *_under("attn_c.proj_c", "attend_cross.project", _FEED_FORWARD),
        *_under("attn_c", "attend_cross.attend", _ATTENTION),
        *_under("attn_s", "attend_self", _ATTENTION),
        *_under("ff", "feed_forward", _FEED_FORWARD),
    ),
    "attn": (
        *_NORMS,
        *_under("attn1", "attend_self", _ATTENTION),
        *_under("attn2", "attend_cross", _ATTENTION),
        *_under("ff", "feed_forward", _FEED_FORWARD),
    ),
}


def _module_names(config: ConnectorConfig) -> Iterator[tuple[str, str]]:
    """List (published, ours) module names of the whole `unet_svg`."""
    for site in SITES:
        modality, direction, index = site.split(".")
        published = f"connector_in_{modality}.{('down', 'up').index(direction)}.{index}.0"
        ours = f"sites.{site.replace('.', '_')}"
        yield from _under(published, ours, _CONNECTOR)
        yield from _under(f"{published}.transformer_blocks.0", f"{ours}.block", _BLOCKS[config.kind])
    for modality in MODALITIES:
        yield from _encoder_names(modality, config.side(modality))


def _encoder_names(modality: str, side: SideConfig) -> Iterator[tuple[str, str]]:
    published, ours = f"connector_out_{modality}", f"encoders.{modality}.stages"
    yield f"{published}.0.0", f"{ours}.0"
    stage = 1
    for level, count in enumerate(side.num_blocks):
        if level:
            yield f"{published}.{stage}.0.op", f"{ours}.{stage}"
            stage += 1
        for _ in range(count):
            # The video side wraps its pair of blocks once more.
            residual = f"{published}.{stage}.0.0" if modality == "video" else f"{published}.{stage}.0"
            yield from _under(residual, f"{ours}.{stage}.residual", _RESIDUAL)
            if modality == "video":
                yield from _under(f"{published}.{stage}.0.1", f"{ours}.{stage}.temporal", _TEMPORAL)
            stage += 1
    yield from _under(f"{published}.{stage}", f"{ours}.{stage}", _HEAD)


def published_to_ours(config: ConnectorConfig, key: str) -> str | None:
    """Translate a published parameter name to ours; None where no such parameter exists."""
    module, _, leaf = key.rpartition(".")
    ours = dict(_module_names(config)).get(module)
    return None if ours is None else f"{ours}.{leaf}"


def to_published_state(connectors: Connectors) -> dict[str, Tensor]:
    """Rename the connectors' weights to their published names, as `unet_svg` stores them."""
    names = {ours: published for published, ours in _module_names(connectors.config)}
    state = {}
    for key, tensor in connectors.state_dict().items():
        module, _, leaf = key.rpartition(".")
        state[f"{names[module]}.{leaf}"] = tensor
    return state


def from_published_state(config: ConnectorConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict to our names; unknown names stay, so that strict loading reports them."""
    names = dict(_module_names(config))
    renamed = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        renamed[f"{names.get(module, 'unknown.' + module)}.{leaf}"] = tensor
    return renamed
