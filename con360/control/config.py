"""The shape of a control module: what it reads by name, its widths, and the sites that it acts at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..errors import InputError
from ..models.connector_config import INPUTS, SITES

# The paper's two maps, in the order in which control files without names stack them.
SALIENCY_AND_BASD = ("saliency", "basd")
# The dial of a drawn time track, and what is read of one (`time_channels.channels_of`).
WHEN, TIME_CHANNELS = "when", 4
MAX_NAMES = 64
# Lowest and highest value of each whole number.
_RANGES = {
    "map_height": (1, 1024), "widths": (1, 8192), "strides": (1, 64), "hidden": (1, 8192), "view_grid": (1, 512),
    "audio_sectors": (0, 360), "view_margin": (0, 64),
}  # fmt: skip


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} of a control is {value!r:.80}; wanted a whole number, {low} to {high}.")


@dataclass(frozen=True)
class ControlConfig:
    """The shape of a control module.

    Args:
        site_channels: injection site (`models.connector_config.SITES` and `INPUTS`) to its number of channels.
        channels: names of the maps, in the order in which they are stacked.
        signals: names of the signals, with the number of values that each has at a time.
        map_height, widths, strides, hidden, with_directions: see `MapEncoder`.
        geometry: `pooled` (paper) or `view`.
        view_grid: points across the view at which `view` samples features, before pooling to a site.
        directions_at_sites: give the heads directions beside the features. Video sites get the directions of the view
            (geometry `view` only), audio sites the direction that each map points in. Captions speak of directions,
            and an encoder trained for minutes keeps elevation (sky, ground) but loses azimuth.
        audio_sectors: give the audio heads the mean of each map in this many sectors around the listener
            (`sector_means`). 0 is the paper's: one mean over all directions, without the direction of a pulse.
        sound: the sound that the module was trained towards: `omni` (the downmix) or `view` (wide microphone).
        fov_range_deg: smallest and largest field of view seen in training.
        view_margin: points beyond each edge of the view, spaced as in `view_grid`, up to which the picture's heads see
            the maps (`ViewFeatures`, geometry `view` only). 0 leaves them with the encoder's features, whose cells are
            too coarse to tell when something enters.
        time_folds: audio site to the number of mel frames (10 ms) of one of its rows. The control then reads
            `Conditions.when` (`TimeHead`); empty reads none.
    """

    site_channels: dict[str, int]
    channels: tuple[str, ...] = SALIENCY_AND_BASD
    map_height: int = 64
    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    hidden: int = 256
    with_directions: bool = False
    geometry: Literal["pooled", "view"] = "pooled"
    view_grid: int = 16
    directions_at_sites: bool = False
    audio_sectors: int = 0
    sound: Literal["omni", "view"] = "omni"
    fov_range_deg: tuple[float, float] = (60.0, 120.0)
    signals: dict[str, int] = field(default_factory=dict)
    view_margin: int = 0
    time_folds: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every value: a file's configuration decides how much memory is allocated for it.

        Raises:
            InputError: names the first wrong value.
        """
        _check_names(self.channels, self.signals)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                _check_count(name, one, low, high)
        if not isinstance(self.site_channels, dict) or not set(self.site_channels) <= {*SITES, *INPUTS}:
            known = ", ".join((*SITES, *INPUTS))
            raise InputError(f"a control acts at sites of {known}; got {self.site_channels!r:.200}.")
        for site, channels in self.site_channels.items():
            _check_count(f"channels of {site}", channels, 1, 16384)
        for name, width in self.signals.items():
            _check_count(f"width of the signal {name}", width, 1, 8192)
        self._check_time()
        if self.view_margin and self.geometry != "view":
            raise InputError(f"a view_margin of {self.view_margin} needs geometry 'view'; got {self.geometry!r:.40}.")
        if self.geometry not in ("pooled", "view") or self.sound not in ("omni", "view"):
            raise InputError(f"geometry {self.geometry!r:.40} with sound {self.sound!r:.40} is not known.")
        narrow, wide = self.fov_range_deg if len(self.fov_range_deg) == 2 else (0.0, 0.0)
        if not (isinstance(narrow, int | float) and isinstance(wide, int | float) and 0 < narrow <= wide < 180):
            raise InputError(f"fov_range_deg is {self.fov_range_deg!r:.80}; wanted two angles between 0 and 180.")

    def _check_time(self) -> None:
        folds = self.time_folds
        sounds = [site for site in self.site_channels if site.startswith("audio")]
        if not isinstance(folds, dict) or not set(folds) <= set(sounds):
            raise InputError(f"time_folds are given by audio site of the control; got {folds!r:.200}.")
        for site, fold in folds.items():
            _check_count(f"mel frames in a row of {site}", fold, 1, 256)
        if folds and WHEN in (*self.channels, *self.signals):
            raise InputError(f"{WHEN!r} names the drawn time track; give the map or signal another name.")

    @property
    def map_channels(self) -> int:
        return len(self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all maps, then of all signals: the keys of dropout."""
        return (*self.channels, *self.signals)

    @property
    def time_channels(self) -> int:
        """Number of channels that the control reads of a drawn time track; 0 is none."""
        return TIME_CHANNELS if self.time_folds else 0

    @property
    def dials(self) -> tuple[str, ...]:
        """The keys of strengths: maps, signals, and `when` of a control that reads time tracks."""
        return (*self.names, WHEN) if self.time_folds else self.names

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON holds them.

        Saliency and BASD alone are written as `map_channels: 2`, so that every version of this program reads the file.
        """
        values = asdict(self)
        for name in ("view_margin", "time_folds"):
            # What a file does not use it does not name, so that earlier versions read it too.
            if not values[name]:
                del values[name]
        if self.signals or self.channels != SALIENCY_AND_BASD:
            return values
        del values["signals"]
        counted = {"channels": ("map_channels", self.map_channels)}
        return dict(counted.get(name, (name, value)) for name, value in values.items())

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ControlConfig:
        """Read what `to_dict` wrote.

        Raises:
            InputError: a value out of range, or maps that are counted but not named.
        """
        given = dict(values)
        count = given.pop("map_channels", None)
        if count not in (None, len(SALIENCY_AND_BASD)):
            raise InputError(f"this control counts {count!r:.80} maps without their names; train it again.")
        tuples = {k: tuple(v) for k, v in given.items() if k in ("channels", "widths", "strides", "fov_range_deg")}
        return ControlConfig(**{**given, **tuples})


def _check_names(channels: object, signals: object) -> None:
    if not isinstance(channels, tuple) or not isinstance(signals, dict):
        raise InputError(f"a control lists names of maps, and signals by width; got {channels!r:.80}, {signals!r:.80}.")
    names = [*channels, *signals]
    wrong = [name for name in names if not isinstance(name, str) or not name.isidentifier()]
    if wrong:
        raise InputError(f"{wrong[0]!r:.80} is no name of a map or signal; use letters, digits and underscores.")
    if len(set(names)) != len(names) or not 1 <= len(channels) <= MAX_NAMES or len(signals) > MAX_NAMES:
        raise InputError(
            f"a control reads 1 to {MAX_NAMES} maps and up to {MAX_NAMES} signals, each name once; got {names!r:.200}."
        )
