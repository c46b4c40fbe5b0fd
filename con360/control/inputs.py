"""Inputs of a control by name: makers of maps and signals, and one clip's inputs as its module reads them.

Saliency and the BASD map have stages of their own. A further map or signal is a function of the panorama clip,
registered under a name by `map_maker` or `signal_maker`; a control whose configuration names it then reads it.

Shape legend: B clips, T frames, C maps, H W map rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.erp import shrink_for
from ..geometry.perspective import view_directions
from ..records import Conditions, PanoramaClip, Signal, ViewTrack
from ..saliency.colours import unusual_colours
from .config import SALIENCY_AND_BASD, ControlConfig

MapMaker = Callable[[PanoramaClip], Tensor]
SignalMaker = Callable[[PanoramaClip], Signal]
Maker = TypeVar("Maker", MapMaker, SignalMaker)

# Rows of the pictures whose colours are compared.
COLOURS_HEIGHT = 64

_MAP_MAKERS: dict[str, MapMaker] = {}
_SIGNAL_MAKERS: dict[str, SignalMaker] = {}


def map_maker(name: str) -> Callable[[MapMaker], MapMaker]:
    """Register a function of a panorama clip as the maker of the map `name`: `[T, H, W]` in [0, 1], one per frame.

    Raises:
        InputError: the name is saliency or basd, whose makers are the method's own stages.
    """
    return _registered(_MAP_MAKERS, name)


def signal_maker(name: str) -> Callable[[SignalMaker], SignalMaker]:
    """Register a function of a panorama clip as the maker of the signal `name`, which must be as long as the clip.

    Raises:
        InputError: as for `map_maker`.
    """
    return _registered(_SIGNAL_MAKERS, name)


def _registered(makers: dict[str, Maker], name: str) -> Callable[[Maker], Maker]:
    if name in SALIENCY_AND_BASD:
        raise InputError(f"the name {name!r} is taken by the method itself; choose another.")

    def register(make: Maker) -> Maker:
        makers[name] = make
        return make

    return register


def make_named(
    config: ControlConfig, clip: PanoramaClip, given: Collection[str] = SALIENCY_AND_BASD
) -> tuple[dict[str, Tensor], dict[str, Signal]]:
    """Make the maps and signals that a control names, from the clip.

    Args:
        given: names to leave out. Names without a maker are left out as well.

    Returns:
        Maps `[T, H, W]` and signals, by name.
    """
    maps = {n: _MAP_MAKERS[n](clip) for n in config.channels if n not in given and n in _MAP_MAKERS}
    signals = {n: _SIGNAL_MAKERS[n](clip) for n in config.signals if n not in given and n in _SIGNAL_MAKERS}
    return maps, signals


def with_named(conditions: Conditions, clip: PanoramaClip, config: ControlConfig) -> Conditions:
    """Add the maps and signals that a control names and the conditions lack, made from the clip.

    A name without a maker stays absent; `encode_control` refuses it unless its strength is 0.
    """
    maps, signals = make_named(config, clip, (*SALIENCY_AND_BASD, *conditions.maps, *conditions.signals))
    return replace(conditions, maps={**conditions.maps, **maps}, signals={**conditions.signals, **signals})


def with_maps(conditions: Conditions, clip: PanoramaClip, names: Sequence[str]) -> Conditions:
    """Add the named maps that the conditions lack, made from the clip; a name without a maker stays absent."""
    absent = [n for n in names if n not in SALIENCY_AND_BASD and n not in conditions.maps and n in _MAP_MAKERS]
    return replace(conditions, maps={**conditions.maps, **{n: _MAP_MAKERS[n](clip) for n in absent}})


@map_maker("colours")
def _colours(clip: PanoramaClip) -> Tensor:
    """Distance of colours from the usual ones of their latitude, at most 1."""
    return unusual_colours(shrink_for(clip.frames, 180.0 / COLOURS_HEIGHT)).clamp_max(1.0)


def view_rays(tracks: Sequence[ViewTrack], grid: int) -> Tensor:
    """Stack the directions of each clip's view per frame: unit vectors `[B, T, grid, grid, 3]`."""
    return torch.stack(
        [
            torch.stack(
                [view_directions(v.yaw_deg, v.pitch_deg, v.fov_deg, grid, roll_deg=v.roll_deg) for v in track.views]
            )
            for track in tracks
        ]
    )


def stack_maps(
    conditions: Conditions, channels: Sequence[str] = SALIENCY_AND_BASD, kept: Collection[str] | None = None
) -> Tensor:
    """Stack the maps of one clip as the map encoder reads them.

    Args:
        channels: names of the maps, in order.
        kept: names that are used; the others are zeros and may be absent. None uses all.

    Returns:
        `[1, T, C, H, W]` at the size of the saliency, each map min-max normalised per frame.

    Raises:
        InputError: a map is absent or has another number of frames.

    Source: paper section 2.2.
    """
    maps = {**conditions.maps, "saliency": conditions.saliency.maps, "basd": conditions.basd.maps}
    like = conditions.saliency.maps
    used = channels if kept is None else kept
    stacked = [_channel(maps, name, like) if name in used else torch.zeros_like(like) for name in channels]
    return torch.stack(stacked, dim=1)[None]


def _channel(maps: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    if name not in maps:
        raise InputError(
            f"the control reads the map {name!r}, and the conditions hold {', '.join(maps)}; add it, or set its "
            f"strength to 0."
        )
    if len(maps[name]) != len(like):
        raise InputError(
            f"the map 'saliency' has {len(like)} frames and {name!r} {len(maps[name])}; make both from the same clip "
            f"at the same frame rate."
        )
    return normalised(maps[name], like.shape[-2:])


def normalised(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps `[T, H, W]` at another size (rows, columns), min-max normalised per frame."""
    if maps.shape[-2:] != torch.Size(size):
        maps = torch.nn.functional.interpolate(maps[:, None], tuple(size), mode="area")[:, 0]
    return _min_max(maps)


def _min_max(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    # A flat map carries no information and stays flat, at its own value, instead of turning into 0/0.
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(1e-12), maps.clamp(0, 1))


def stack_signals(conditions: Conditions, widths: Mapping[str, int], seconds: float) -> dict[str, Signal]:
    """The named signals of one clip as the module reads them: values `[1, T, ...]`.

    Args:
        widths: name to the number of values at a time.
        seconds: length of the clip.

    Raises:
        InputError: a signal is absent, or of another width or length.
    """
    return {name: _batched(conditions.signals, name, width, seconds) for name, width in widths.items()}


def _batched(signals: Mapping[str, Signal], name: str, width: int, seconds: float) -> Signal:
    if name not in signals:
        raise InputError(
            f"the control reads the signal {name!r}, and the conditions hold {', '.join(signals) or 'none'}; add it, "
            f"or set its strength to 0."
        )
    signal = signals[name]
    if signal.width != width:
        raise InputError(f"the signal {name!r} has {signal.width} values at a time; the control reads {width}.")
    if abs(signal.duration_s - seconds) > 1 / signal.rate_hz:
        raise InputError(
            f"the signal {name!r} lasts {signal.duration_s:g} s and the maps {seconds:g} s; make both from one clip."
        )
    return replace(signal, values=signal.values[None])
