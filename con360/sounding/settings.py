"""Settings of Ambisonics that a model makes for a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..choices import LOOKS_TO, MULTICUE, Eye, LooksTo, PresetName
from ..errors import InputError
from ..media.presets import file_kind
from ..media.reader import check_times
from .generate import FieldSettings
from .model import AmbisonicsModel


@dataclass(frozen=True)
class AmbisonicsSettings:
    """Choose how Ambisonics is made.

    Args:
        steps, cfg: of the sampler; None is the model's default, and a `cfg` of 1 is off.
        seed: of the noise.
        start_s: where to begin. duration_s: how long; None goes to the end. These and the next four are about files.
        own_sound: mix in the clip's own sound; False leaves it out.
        eye, audio_track, ambisonics, head_locked: of the clip, as in `read_panorama`.
        view: where the view that the model reads looks: `front` as published, or at the most `salient` region.
        saliency: method of `predict_saliency`, for `salient`.
        gain_db: on top of the model's own level.
        limiter: keep peaks at -1 dBFS or below; False leaves the model's level as it is.
        published_jpeg: code the pictures as JPEG before they are read, as the published program does; for parity.
        keep: keep features of pictures and finished groups for later runs, and use what was kept.
        preset: kind of file (`media.presets`); its codec of pictures is not used. A head-locked pair is the clip's own
            mono or stereo sound, so that `own_sound` is wanted.

    Raises:
        InputError: a value that cannot be used.
    """

    steps: int | None = None
    cfg: float | None = None
    seed: int = 0
    start_s: float = 0.0
    duration_s: float | None = None
    own_sound: bool = False
    eye: Eye | None = None
    audio_track: int | None = None
    ambisonics: str = "auto"
    head_locked: bool = False
    view: LooksTo = "front"
    saliency: str | Path = MULTICUE
    gain_db: float = 0.0
    limiter: bool = True
    published_jpeg: bool = False
    keep: bool = True
    preset: PresetName | None = None

    def __post_init__(self) -> None:
        if file_kind(self.preset).shape.pair and not self.own_sound:
            raise InputError(
                f"the preset {self.preset!r} keeps the clip's own sound as its head-locked pair; keep that sound "
                f"(--keep-original), or choose another preset."
            )
        check_times(self.start_s, self.duration_s)
        if self.view not in LOOKS_TO:
            raise InputError(f"view {self.view!r} is not known; choose {' or '.join(LOOKS_TO)}.")
        if not abs(self.gain_db) <= 60:
            raise InputError(f"a gain of {self.gain_db} dB was asked for; choose -60 to 60.")

    @property
    def stop_s(self) -> float:
        """End of the part in seconds of the clip; infinite without a duration."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s

    def of_model(self, model: AmbisonicsModel) -> FieldSettings:
        """Sampler settings, with the model's own where none are given."""
        defaults = model.defaults
        steps = defaults["steps"] if self.steps is None else self.steps
        field = FieldSettings(steps, defaults["cfg_audio"] if self.cfg is None else self.cfg, self.seed)
        field.sampler  # noqa: B018  checks the numbers
        return field
