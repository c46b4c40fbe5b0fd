"""Turn the Ambisonics of a file as the pose of its camera says, together with its picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .info import AudioTrack, MediaInfo

if TYPE_CHECKING:
    from torch import Tensor

    from ..records import Sound


def upright_sound(sound: Sound | None, info: MediaInfo) -> Sound | None:
    """Turn a file's sound where its reading asks for it and it is Ambisonics."""
    if sound is None or sound.layout != "ambix" or not _is_turned(info):
        return sound
    from ..geometry.sphere import rotation_angles
    from ..sound.rotation import turn

    yaw, pitch, roll = (float(angle) for angle in rotation_angles(_camera(info)))
    return turn(sound, yaw, pitch, roll)


def upright_blocks(blocks: Iterator[np.ndarray], info: MediaInfo, track: AudioTrack) -> Iterator[np.ndarray]:
    """Turn blocks `[C, n]` of a track as `upright_sound`."""
    if track.layout != "ambix" or not _is_turned(info):
        return blocks
    import torch

    from ..records import order_of
    from ..sound.channels import PAIR
    from ..sound.rotation import turn_blocks

    order = order_of(track.heard_channels) or order_of(track.heard_channels - PAIR) or 1
    camera = _camera(info)
    turned = turn_blocks(
        map(torch.from_numpy, blocks), track.sample_rate_hz, lambda times_s: camera.expand(len(times_s), 3, 3), order
    )
    return (block.numpy() for block in turned)


def _is_turned(info: MediaInfo) -> bool:
    return info.reading.upright and any(info.spherical.pose_deg)


def _camera(info: MediaInfo) -> Tensor:
    """Rotation of a camera that sees the level world out of the tilted picture."""
    import torch

    from ..geometry.sphere import rotation

    # The pose brings the picture to the world; seen from there, the picture lies the other way round.
    return rotation(*info.spherical.pose_deg, dtype=torch.float64).T
