"""Mix a panorama's sound for a moving view, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..choices import StereoLaw
from ..errors import InputError
from ..geometry.sphere import rotation
from ..media.reader import PanoramaStream
from ..media.sofa import ears_of_sofa
from ..media.writer import ClipStream, aac_gain, aac_rate_hz
from ..records import Progress, order_of
from ..sound.ambisonics import stereo_matrix
from ..sound.channels import FIRST_ORDER, PAIR, first_order_notice
from ..sound.headphones import ears_blocks, load_ears
from ..sound.levels import PAIR_LEFT_OUT, downmix_matrix, mixed_notice, resample_blocks
from ..sound.moving import mix_moving
from ..sound.peaks import peak_of
from ..sound.rotation import turn_blocks, turn_matrices
from ..sound.stereo import stereo_blocks
from ..sound.views import mono_matrix
from .aim import Aim, seconds_of

# Samples from one mixing matrix to the next (about 10 ms); matrices are interpolated in between.
MIX_STEP = 512


# Sound ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mix:
    """Mix a panorama's sound for the result.

    Args:
        name: as in `Reframed.sound`. rate_hz: of the source. channels: of the result; 0 for no sound.
        turned: `[D, 4]` after the turn with the view; None where the sound is not turned.
        flat: `[D, C]` for the channels that do not turn: all of them, or a head-locked pair; None leaves them as they
            are, or the pair out.
        heard: makes the result of blocks of the turned field and its pair instead; order: of that field.
    """

    name: str
    rate_hz: int = 0
    channels: int = 0
    turned: Tensor | None = None
    flat: Tensor | None = None
    heard: Callable[[Iterable[Tensor]], Iterator[Tensor]] | None = None
    order: int = 1

    @property
    def shape(self) -> tuple[int, int] | None:
        """Channels and rate of the result; None for no sound."""
        return (self.channels, aac_rate_hz(self.rate_hz)) if self.channels else None

    def of(self, block: Tensor, turns: Tensor | None) -> Tensor:
        """`[D, n]` of a block `[C, n]` and its turns `[M, 4, 4]` every `MIX_STEP` samples."""
        if self.turned is None or turns is None:
            return block if self.flat is None else self.flat.to(block) @ block
        field = mix_moving(block[:FIRST_ORDER], self.turned @ turns, MIX_STEP)
        return field if self.flat is None else field + self.flat.to(block) @ block[-PAIR:]


def choose_mix(
    stream: PanoramaStream, kind: str, hrtf: str | Path | None = None, law: StereoLaw = "cardioids"
) -> _Mix:  # fmt: skip
    """Choose the mix for a kind of sound (`choices.SOUND_KINDS`); adds what was assumed or mixed to the notices."""
    track = None if kind == "none" else stream.track
    if track is None:
        return _Mix("none")
    channels, rate, speakers = stream.sound_channels, track.sample_rate_hz, track.heard.speakers
    stream.notices += track.notices
    if track.layout == "ambix":
        if kind == "headphones":
            return _worn_mix(stream, rate, hrtf)
        return _panned_mix(stream, rate, law) if law != "cardioids" else _turned_mix(stream, kind, rate)
    if law != "cardioids":
        stream.notices.append(f"the stereo law {law!r} pans Ambisonics alone; this sound is {track.layout}")
    if kind in ("foa", "headphones"):
        raise InputError(
            f"{'turned Ambisonics' if kind == 'foa' else 'sound for headphones'} was asked for, but the sound is "
            f"{track.layout} with {channels} channels and has no directions; choose auto, stereo, mono or none."
        )
    if channels <= 2 and (kind != "mono" or channels == 1):
        stream.notices += ["the sound is mono and stays it"] if kind == "stereo" and channels == 1 else []
        return _Mix("as recorded", rate, channels)
    if not speakers:
        stream.notices += [f"the mean of the sound's {channels} channels is used: mono"] if channels > 2 else []
        return _Mix("mono", rate, 1, flat=torch.full((1, channels), 1 / channels))
    name = "mono" if kind == "mono" else "stereo"
    stream.notices.append(mixed_notice(speakers, name))
    flat = downmix_matrix(speakers, 1 if name == "mono" else 2)
    return _Mix(name, rate, len(flat), flat=flat)


def _turned_mix(stream: PanoramaStream, kind: str, rate_hz: int) -> _Mix:
    name = "stereo" if kind == "auto" else kind
    turned = {"stereo": stereo_matrix, "mono": mono_matrix}.get(name, lambda: torch.eye(4, dtype=torch.float64))()
    flat, has_pair = None, order_of(stream.sound_channels) is None
    stream.notices += first_order_notice(_order(stream))
    if has_pair and name == "foa":
        stream.notices.append(PAIR_LEFT_OUT)
    elif has_pair:
        flat = downmix_matrix(("FL", "FR"), len(turned))
    return _Mix(name, rate_hz, len(turned), turned, flat)


def _worn_mix(stream: PanoramaStream, rate_hz: int, hrtf: str | Path | None) -> _Mix:
    order = _order(stream)
    ears = load_ears(order, rate_hz) if hrtf is None else ears_of_sofa(hrtf, order, rate_hz)
    ears = ears.with_pair() if order_of(stream.sound_channels) is None else ears
    return _Mix("headphones", rate_hz, 2, heard=lambda turned: ears_blocks(turned, ears), order=order)


def _panned_mix(stream: PanoramaStream, rate_hz: int, law: StereoLaw) -> _Mix:
    order = _order(stream)
    stream.notices += first_order_notice(order)
    return _Mix("stereo", rate_hz, 2, heard=lambda turned: stereo_blocks(turned, rate_hz, law), order=order)


def _order(stream: PanoramaStream) -> int:
    channels = stream.sound_channels
    return order_of(channels) or order_of(channels - PAIR) or 1


def sound_blocks(
    stream: PanoramaStream, mix: _Mix, aim: Aim, start_s: float, stop_s: float
) -> Iterator[Tensor]:  # fmt: skip
    """Yield the mixed sound of an excerpt, `[D, n]` after `[D, n]` in the result's channels and rate."""
    if mix.shape is None:
        return iter(())

    blocks = stream.sound(start_s, stop_s)
    if mix.heard is not None:
        field = (torch.from_numpy(block) for block in blocks)
        turned = turn_blocks(field, mix.rate_hz, lambda times_s: _cameras(aim, times_s), mix.order)
        return resample_blocks(mix.heard(turned), mix.rate_hz, mix.shape[1])

    def mixed() -> Iterator[Tensor]:
        at = 0
        for block in _in_steps(blocks):
            turns = None if mix.turned is None else _turns(aim, at, block.shape[1], mix.rate_hz)
            yield mix.of(torch.from_numpy(block), turns)
            at += block.shape[1]

    return resample_blocks(mixed(), mix.rate_hz, mix.shape[1])


def _turns(aim: Aim, at: int, count: int, rate_hz: int) -> Tensor:
    """Turns of the field, `[M, 4, 4]`, at the samples `at`, `at + MIX_STEP`, ..."""
    return turn_matrices(_cameras(aim, (at + np.arange(0, count + MIX_STEP, MIX_STEP)) / rate_hz))


def _cameras(aim: Aim, times_s: np.ndarray) -> Tensor:
    """Rotations of the camera, `[M, 3, 3]`, at times from the excerpt's start."""
    views = [aim(time_s) for time_s in times_s.tolist()]
    yaw = torch.tensor([view.yaw_deg for view in views], dtype=torch.float64)
    pitch = torch.tensor([view.pitch_deg for view in views], dtype=torch.float64)
    return rotation(yaw, pitch)


def sound_gain(
    stream: PanoramaStream, mix: _Mix, aim: Aim, start_s: float, stop_s: float, progress: Progress | None
) -> float:  # fmt: skip
    """The factor that fits the whole sound into AAC; reads all of it once, to find its peak."""

    def tell(heard: int) -> None:
        if progress is not None and mix.shape is not None:
            second, total = heard // mix.shape[1], int(seconds_of(stream.info, start_s, stop_s))
            progress(second, max(second, total, 1), "measuring the sound")

    return aac_gain(peak_of(sound_blocks(stream, mix, aim, start_s, stop_s), tell))


class Heard:
    """Write the sound as far as the picture has come."""

    def __init__(self, blocks: Iterator[Tensor], mix: _Mix, gain: float, clip: ClipStream) -> None:
        self._blocks, self._mix, self._gain, self._clip, self._at = blocks, mix, gain, clip, 0
        self._more = mix.shape is not None

    def advance(self, time_s: float) -> None:
        """Write until `time_s` seconds from the excerpt's start."""
        while self._more and self._mix.shape is not None and self._at < time_s * self._mix.shape[1]:
            block = next(self._blocks, None)
            if block is None:
                self._more = False
                return
            self._clip.add_sound((block * self._gain).numpy())
            self._at += block.shape[1]


def _in_steps(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup samples into blocks of whole mixing steps; the last one may be shorter."""
    waiting: np.ndarray | None = None
    for block in blocks:
        waiting = block if waiting is None else np.concatenate((waiting, block), axis=1)
        # Eight steps at once: less time goes into small calls.
        whole = waiting.shape[1] // (8 * MIX_STEP) * (8 * MIX_STEP)
        if whole:
            yield np.ascontiguousarray(waiting[:, :whole])
            waiting = waiting[:, whole:]
    if waiting is not None and waiting.shape[1]:
        yield np.ascontiguousarray(waiting)
