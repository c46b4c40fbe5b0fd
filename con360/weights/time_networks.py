"""Load networks that tell when a picture sounds: SyncFusion's onset network, Video-Foley's Video2RMS, and our own.

Weights are strict: a missing, unknown, misshapen or non-finite one is named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import nn

from ..errors import InputError
from ..media.files import atomic_path
from ..models.envelope_networks import PictureEnvelope, Video2Rms
from ..models.onset_network import OnsetNetwork
from .files import State, problems_of, read_header, read_tensors, short
from .kinds import ONSETS, PICTURE_ENVELOPE, VIDEO2RMS, kind_of, read_header_of

# Of a Lightning checkpoint, names below this prefix are the network.
TRAINERS_PREFIX = "model."
# Wider ones are no envelope networks of ours.
MAX_WIDTH = 4096
Network = TypeVar("Network", bound=nn.Module)


def load_time_network(path: str | Path, device: torch.device | str = "cpu") -> OnsetNetwork | PictureEnvelope:
    """Read a network that watches a picture alone, of whichever kind the file holds.

    Raises:
        InputError: as in `load_onset_network`.
    """
    path = Path(path).expanduser()
    kind = kind_of(read_header(path))
    if kind not in _WATCHING:
        raise InputError(
            f"{short(path)} is {kind}; wanted {' or '.join(_WATCHING)}, which watch a picture. Choose another file."
        )
    return _WATCHING[kind](path, device)


def load_onset_network(path: str | Path, device: torch.device | str = "cpu") -> OnsetNetwork:
    """Read SyncFusion's onset network.

    Args:
        path: a Lightning checkpoint as published, a bare state dict, or a safetensors made of either.

    Raises:
        InputError: another model, a damaged file, or one that names more than tensors; it says how to convert that.
    """
    path = Path(path).expanduser()
    read_header_of(path, ONSETS, "the onset network")
    with torch.device("meta"):
        network = OnsetNetwork()
    return _filled(network, _own(read_tensors(path)), path, device)


def load_video2rms(path: str | Path, device: torch.device | str = "cpu") -> Video2Rms:
    """Read Video-Foley's Video2RMS; sizes are read off the weights.

    Raises:
        InputError: as in `load_onset_network`.
    """
    path = Path(path).expanduser()
    read_header_of(path, VIDEO2RMS, "the envelope network")
    state = _own(read_tensors(path), "encoder.")
    try:
        values, frames = state["encoder.BiLSTM_projs.0.weight"].shape
        features = len(state["encoder.convolutions.0.0.conv.bias"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{short(path)} tells no sizes ({error}): it is no whole Video2RMS; get it again.") from error
    with torch.device("meta"):
        network = Video2Rms(features, frames, values)
    return _filled(network, state, path, device)


def load_picture_envelope(path: str | Path, device: torch.device | str = "cpu") -> PictureEnvelope:
    """Read an envelope network that `train.when.run` wrote.

    Raises:
        InputError: another model, a damaged file, or one whose facts do not fit.
    """
    path = Path(path).expanduser()
    header = read_header_of(path, PICTURE_ENVELOPE, "the envelope network")
    try:
        facts = json.loads(header.metadata["facts"])
        width, fps = int(facts["width"]), float(facts["fps"])
        if not 0 < width <= MAX_WIDTH or not 0 < fps < math.inf:
            raise ValueError(f"width {width}, {fps:g} fps")
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{short(path)} does not say its width and frame rate ({error}); get it again.") from error
    with torch.device("meta"):
        network = PictureEnvelope(width, fps)
    return _filled(network, read_tensors(path), path, device)


def save_picture_envelope(network: PictureEnvelope, path: Path) -> None:
    """Write an envelope network in half precision."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    metadata = {"format": "con360-envelope", "facts": json.dumps({"width": network.width, "fps": network.fps})}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)


# By kind: networks that need a picture and nothing else.
_WATCHING: dict[str, Callable[[Path, torch.device | str], OnsetNetwork | PictureEnvelope]] = {
    ONSETS: load_onset_network,
    PICTURE_ENVELOPE: load_picture_envelope,
}


def _own(state: State, start: str = "") -> State:
    """Weights of the network alone, without a trainer's prefix; of those, names that begin with `start`."""
    whole = any(name.startswith(TRAINERS_PREFIX) for name in state)
    own = {name.removeprefix(TRAINERS_PREFIX): t for name, t in state.items() if name.startswith(TRAINERS_PREFIX)}
    return {name: t for name, t in (own if whole else state).items() if name.startswith(start)}


def _filled(network: Network, state: State, path: Path, device: torch.device | str) -> Network:
    problems = list(problems_of(network.state_dict(), state))
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"{short(path)} does not fit: {'; '.join(problems[:3])}{more}. Get it again.")
    floats = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    network.load_state_dict(floats, assign=True)
    return network.to(device).eval().requires_grad_(False)
