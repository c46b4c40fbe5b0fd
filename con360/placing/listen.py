"""Hear Ambisonics, or a 360° clip, with two ears: a WAV for headphones, the head turned as asked.

Everything streams. The sound is read twice, since its peak decides one gain for all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..geometry.sphere import rotation
from ..media.files import check_not_read, check_writable
from ..media.sofa import ears_of_sofa
from ..media.sound_coders import loud_notice
from ..media.wav import wav_stream
from ..records import Progress, SourcePoint, SourceTrack
from ..sound.headphones import EarFilters, ears_blocks, load_ears
from ..sound.peaks import peak_of
from ..sound.rotation import turn_blocks
from ..sound.sources import check_track, path_of
from .sources import Source, open_sound, sentences

# Order for sounds that are loudspeakers: as fine as the filters go.
SPEAKERS_ORDER = 3


@dataclass(frozen=True)
class ListenSettings:
    """Choose how a field is heard.

    Args:
        head: where the head points; its distances, spreads and gains say nothing. None keeps it to the front.
        hrtf: a SOFA file of the listener's own ears; None takes the shipped ones (MIT KEMAR).
        audio_track, ambisonics, head_locked: as in `read_panorama`.
    """

    head: SourceTrack | None = None
    hrtf: str | os.PathLike[str] | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False


@dataclass(frozen=True)
class Listened:
    """Facts about the file that was written: `ears` names whose ears, `notices` are sentences for people."""

    path: Path
    order: int
    sample_rate_hz: int
    duration_s: float
    ears: str
    notices: tuple[str, ...]


def listen(
    source: str | os.PathLike[str], out: str | os.PathLike[str], settings: ListenSettings | None = None, *,
    progress: Progress | None = None,
) -> Listened:  # fmt: skip
    """Write what two ears hear in a field, as a stereo WAV of 32-bit floats and the source's own rate.

    Args:
        source: Ambisonics of order 1 to 3 in any media file, a 360° clip for instance. Loudspeakers (5.1, ...) are
            heard at their nominal places; mono comes from everywhere. A head-locked pair does not turn.
        out: the WAV to write; it appears when it is complete.
        settings: None takes the defaults.
        progress: told of each second; may raise to cancel, which leaves no file.

    Raises:
        InputError: the file, the head's track or the SOFA file cannot be used.
    """
    settings = settings or ListenSettings()
    check_ears_path(out)
    head = check_track(settings.head or SourceTrack.still(SourcePoint(0.0)))
    file = open_sound(source, settings.audio_track, settings.ambisonics, settings.head_locked)
    check_not_read(out, [file.info.path])
    order = file.order or SPEAKERS_ORDER
    rate = file.rate_hz
    ears = load_ears(order, rate) if settings.hrtf is None else ears_of_sofa(settings.hrtf, order, rate)
    heard = _Heard(Source(file), head, ears.with_pair() if file.has_pair else ears, progress)
    peak = peak_of(heard.blocks("measuring the sound"))
    if not heard.length_s:
        raise InputError(f"{file.name} has no sound that can be decoded. Copy it again.")
    gain = 1.0 / max(peak, 1.0)
    with wav_stream(out, 2, rate) as wav:
        for block in heard.blocks("writing"):
            wav.add((block * gain).numpy())
    return Listened(Path(out), order, rate, heard.length_s, ears.source, heard.notices(peak, gain))


def check_ears_path(path: str | os.PathLike[str]) -> None:
    """Check that what ears hear can be written at `path`. Creates nothing.

    Raises:
        InputError: another suffix than .wav, a folder, or a place that cannot be written to.
    """
    if Path(path).suffix.lower() != ".wav":
        raise InputError(f"{Path(path).name} does not end in .wav, the format that ears are written in. Rename it.")
    check_writable(path)


@dataclass
class _Heard:
    """Stream what two ears hear of a sound, read as often as it is asked for."""

    source: Source
    head: SourceTrack
    ears: EarFilters
    progress: Progress | None
    length_s: float = 0.0

    def blocks(self, what: str) -> Iterator[Tensor]:
        """Yield `[2, n]`."""
        file, path, count = self.source.file, path_of(self.head), 0

        def cameras(times_s: np.ndarray) -> Tensor:
            yaw, pitch = torch.from_numpy(path(times_s)[:, :2]).unbind(1)
            return rotation(yaw, pitch)

        # A head-locked pair stays behind the field.
        field = file.blocks(file.rate_hz) if file.order else self.source.blocks(file.rate_hz, self.ears.order)
        for block in ears_blocks(turn_blocks(field, file.rate_hz, cameras, self.ears.order), self.ears):
            yield block
            count += block.shape[1]
            self.length_s = count / file.rate_hz
            if self.progress is not None:
                total = int(file.info.duration_s or 0)
                self.progress(int(self.length_s), max(int(self.length_s), total, 1), what)

    def notices(self, peak: float, gain: float) -> tuple[str, ...]:
        """Sentences about what was read."""
        file = self.source.file
        said = [*dict.fromkeys(file.notices), "" if file.order else self.source.made_of_it()]
        said += ["" if peak else "the sound is silent"]
        said += [f"{loud_notice(gain)}: its peaks were above full scale" if gain < 1 else ""]
        return sentences(said)
