"""Mix a panorama's sound for a moving view, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..choices import StereoLaw
from ..errors import InputError
from ..media.presets import PLAIN, FileKind
from ..media.reader import PanoramaStream
from ..media.sound_coders import USUAL_SOUND, SoundCoding
from ..media.writer import ClipStream
from ..records import Progress, order_of
from ..sound.channels import FIRST_ORDER, PAIR, first_order_notice
from ..sound.shaping import shape_matrix, shaped
from .aim import Aim, seconds_of

if TYPE_CHECKING:
    from torch import Tensor

# Sound ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mix:
    """Mix a panorama's sound for the result.

    Args:
        name: as in `Reframed.sound`. rate_hz: of the source. channels: of the result; 0 for no sound.
        flat: `[D, C]` for channels that do not turn; None leaves them as they are.
        heard: makes the result of blocks of the field, turned with the view, and its head-locked pair; None where
            nothing turns.
        order: of that field. coding: of the result.
    """

    name: str
    rate_hz: int = 0
    channels: int = 0
    flat: Tensor | None = None
    heard: Callable[[Iterable[Tensor]], Iterator[Tensor]] | None = None
    order: int = 1
    coding: SoundCoding = USUAL_SOUND

    @property
    def shape(self) -> tuple[int, int] | None:
        """Channels and rate of the result; None for no sound."""
        return (self.channels, self.coding.rate_for(self.channels, self.rate_hz)) if self.channels else None


def choose_mix(
    stream: PanoramaStream, kind: str, hrtf: str | Path | None = None, law: StereoLaw = "cardioids",
    file_kind: FileKind = PLAIN,
) -> Mix:  # fmt: skip
    """Choose the mix for a kind of sound (`choices.SOUND_KINDS`); adds what was assumed or mixed to the notices.

    Raises:
        InputError: the sound cannot be mixed so, or the kind of file holds another one.
    """
    holds_field = file_kind.shape.needs_field or file_kind.shape.pair
    if holds_field and kind not in ("auto", "none"):
        raise InputError(
            f"the preset {file_kind.name!r} holds all of the Ambisonics, and the sound {kind!r} was asked for; "
            f"leave one of them out."
        )
    if holds_field and kind == "auto":
        return whole_mix(stream, file_kind)
    return replace(_mix_of(stream, kind, hrtf, law), coding=file_kind.sound)


def _mix_of(stream: PanoramaStream, kind: str, hrtf: str | Path | None, law: StereoLaw) -> Mix:
    track = None if kind == "none" else stream.track
    if track is None:
        return Mix("none")
    import torch

    from ..sound.levels import downmix_matrix, mixed_notice

    channels, rate, speakers = stream.sound_channels, track.sample_rate_hz, track.heard.speakers
    stream.notices += track.notices
    if track.layout == "ambix":
        return _turned_mix(stream, kind, rate, hrtf, law)
    if law != "cardioids":
        stream.notices.append(f"the stereo law {law!r} pans Ambisonics alone; this sound is {track.layout}")
    if kind in ("foa", "headphones"):
        raise InputError(
            f"{'turned Ambisonics' if kind == 'foa' else 'sound for headphones'} was asked for, but the sound is "
            f"{track.layout} with {channels} channels and has no directions; choose auto, stereo, mono or none."
        )
    if channels <= 2 and (kind != "mono" or channels == 1):
        stream.notices += ["the sound is mono and stays it"] if kind == "stereo" and channels == 1 else []
        return Mix("as recorded", rate, channels)
    if not speakers:
        stream.notices += [f"the mean of the sound's {channels} channels is used: mono"] if channels > 2 else []
        return Mix("mono", rate, 1, flat=torch.full((1, channels), 1 / channels))
    name = "mono" if kind == "mono" else "stereo"
    stream.notices.append(mixed_notice(speakers, name))
    flat = downmix_matrix(speakers, 1 if name == "mono" else 2)
    return Mix(name, rate, len(flat), flat=flat)


def _turned_mix(
    stream: PanoramaStream, kind: str, rate_hz: int, hrtf: str | Path | None, law: StereoLaw
) -> Mix:  # fmt: skip
    from ..media.sofa import ears_of_sofa
    from ..sound.headphones import ears_blocks, load_ears
    from ..sound.levels import PAIR_LEFT_OUT
    from ..sound.stereo import stereo_blocks
    from ..sound.views import front_mono

    channels = stream.sound_channels
    has_pair = order_of(channels) is None
    order = order_of(channels - PAIR if has_pair else channels) or 1
    if kind == "headphones":
        ears = load_ears(order, rate_hz) if hrtf is None else ears_of_sofa(hrtf, order, rate_hz)
        ears = ears.with_pair() if has_pair else ears
        return Mix("headphones", rate_hz, 2, heard=lambda turned: ears_blocks(turned, ears), order=order)
    stream.notices += first_order_notice(order)
    if kind == "mono":
        return Mix("mono", rate_hz, 1, heard=lambda turned: map(front_mono, turned), order=order)
    if kind == "foa":
        stream.notices += [PAIR_LEFT_OUT] if has_pair else []
        return Mix("foa", rate_hz, FIRST_ORDER, heard=lambda turned: (b[:FIRST_ORDER] for b in turned), order=order)
    return Mix("stereo", rate_hz, 2, heard=lambda turned: stereo_blocks(turned, rate_hz, law), order=order)


def whole_mix(stream: PanoramaStream, kind: FileKind = PLAIN) -> Mix:
    """Choose the mix that keeps a panorama's sound whole: all of its Ambisonics turned, a head-locked pair unturned.

    Other sound stays as it is up to two channels; loudspeakers become stereo. Then it gets the kind's channels.

    Raises:
        InputError: the kind needs Ambisonics, and there is none.
    """
    track = stream.track
    if track is None:
        return Mix("none")
    if track.layout != "ambix":
        return _shaped_flat(stream, choose_mix(stream, "auto"), kind)
    stream.notices += track.notices
    channels = stream.sound_channels
    order = order_of(channels) or order_of(channels - PAIR) or 1
    matrix, said = shape_matrix(kind.shape, "ambix", channels)
    stream.notices += said
    count = channels if matrix is None else len(matrix)
    return Mix(
        "ambisonics", track.sample_rate_hz, count, heard=lambda turned: shaped(iter(turned), matrix), order=order,
        coding=kind.sound,
    )  # fmt: skip


def _shaped_flat(stream: PanoramaStream, mix: Mix, kind: FileKind) -> Mix:
    """Bring sound without directions to the kind's channels."""
    matrix, said = shape_matrix(kind.shape, "mono" if mix.channels == 1 else "stereo", mix.channels)
    stream.notices += said
    if matrix is None:
        return replace(mix, coding=kind.sound)
    flat = matrix.double() if mix.flat is None else matrix.double() @ mix.flat.double()
    return replace(mix, name="head-locked", channels=len(matrix), flat=flat, coding=kind.sound)


def sound_blocks(
    stream: PanoramaStream, mix: Mix, aim: Aim, start_s: float, stop_s: float
) -> Iterator[Tensor]:  # fmt: skip
    """Yield the mixed sound of an excerpt, `[D, n]` after `[D, n]` in the result's channels and rate."""
    if mix.shape is None:
        return iter(())
    import torch

    from ..sound.levels import resample_blocks
    from ..sound.rotation import turn_blocks

    blocks: Iterator[Tensor] = map(torch.from_numpy, stream.sound(start_s, stop_s))
    if mix.heard is not None:
        blocks = mix.heard(turn_blocks(blocks, mix.rate_hz, lambda times_s: _cameras(aim, times_s), mix.order))
    elif mix.flat is not None:
        flat = mix.flat.float()
        blocks = (flat @ block for block in blocks)
    return resample_blocks(blocks, mix.rate_hz, mix.shape[1])


def _cameras(aim: Aim, times_s: np.ndarray) -> Tensor:
    """Rotations of the camera, `[M, 3, 3]`, at times from the excerpt's start."""
    import torch

    from ..geometry.sphere import rotation

    views = [aim(time_s) for time_s in times_s.tolist()]
    angles = torch.tensor([(view.yaw_deg, view.pitch_deg, view.roll_deg) for view in views], dtype=torch.float64)
    return rotation(*angles.unbind(-1))


def sound_gain(
    stream: PanoramaStream, mix: Mix, aim: Aim, start_s: float, stop_s: float, progress: Progress | None
) -> float:  # fmt: skip
    """The factor that fits the whole sound into its codec; reads all of it once, to find its peak."""

    def tell(heard: int) -> None:
        if progress is not None and mix.shape is not None:
            second, total = heard // mix.shape[1], int(seconds_of(stream.info, start_s, stop_s))
            progress(second, max(second, total, 1), "measuring the sound")

    if mix.shape is None:
        return 1.0
    from ..sound.peaks import peak_of

    return mix.coding.gain_for(peak_of(sound_blocks(stream, mix, aim, start_s, stop_s), tell))


class Heard:
    """Write the sound as far as the picture has come."""

    def __init__(self, blocks: Iterator[Tensor], mix: Mix, gain: float, clip: ClipStream) -> None:
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
