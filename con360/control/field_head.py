"""Direction head: tell from maps, words and a mono sound where each band of the sound lies.

Shape legend: B clips, R rows of 40 ms, N steps of 80 ms, K bands, C azimuth columns, M maps, H W map rows and columns,
D features, L words.

Each band of each row gets a distribution over the columns. It starts from the saliency of each column (4 times its
logarithm) and adds scores of each pair of band and column: their courses compared, which pulse together; the spectra of
their courses compared, which pulse at one rate, whatever the phase; and the caption as each column's direction reads
it. Scores are taken in windows of 2 s, for sources move, and over the whole clip.

The vector is the expectation of the columns' unit vectors. Their elevation is not learned: it is where in its column
saliency lies. What the vector leaves of a plane wave's dipoles is the residual: doubt sounds diffuse.

Source: ours; method notes "Direction fields".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..geometry.erp import erp_area_weights
from ..sound.bands import BANDS

MAP_SIZE = (36, 72)
COLUMNS = 36
# The map that every head reads first; its columns are the prior.
SALIENCY = "saliency"
MOST_WORDS, MOST_MAPS, MOST_FEATURES = 4096, 16, 512
# Least saliency under the logarithm, and the logarithm's factor before training.
FLOOR, PRIOR = 0.02, 4.0
# Range of powers below the loudest that is heard.
RANGE_DB = 60.0
# Steps of a window and from one to the next; rates of pulses that are compared.
WINDOW, HOP = 25, 12
RATES_HZ, STEP_S = torch.arange(2, 18) / 4, 0.08
_TINY = 1e-6


@dataclass(frozen=True)
class FieldConfig:
    """The shape of a direction head.

    Args:
        words: vocabulary of captions; other words are read as unknown.
        channels: names of the maps; saliency comes first.
        hidden: features of a course. heads: scores that these make. width: features of a word.

    Raises:
        InputError: names the first wrong value.
    """

    words: tuple[str, ...]
    channels: tuple[str, ...] = (SALIENCY, "colours")
    hidden: int = 32
    heads: int = 4
    width: int = 96

    def __post_init__(self) -> None:
        for name, most in (("words", MOST_WORDS), ("channels", MOST_MAPS)):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not 1 <= len(value) <= most or not _names(value):
                raise InputError(f"{name} of a direction head are {value!r:.80}; wanted up to {most} words, each once.")
        if self.channels[0] != SALIENCY:
            raise InputError(f"a direction head reads {SALIENCY} first; this one reads {self.channels[0]!r:.80}.")
        for name in ("hidden", "heads", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= MOST_FEATURES:
                raise InputError(
                    f"{name} of a direction head is {value!r:.80}; wanted a whole number, 1 to {MOST_FEATURES}."
                )
        if self.hidden % self.heads or self.width % self.heads:
            raise InputError(f"{self.hidden} and {self.width} features of a direction head must divide by its heads.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> FieldConfig:
        """Read what `to_dict` wrote.

        Raises:
            InputError: a value out of range.
        """
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return FieldConfig(**given)


def _names(values: tuple[object, ...]) -> bool:
    return all(isinstance(v, str) and v for v in values) and len(set(values)) == len(values)


@dataclass(frozen=True)
class Told:
    """Inputs of a head.

    Args:
        maps: `[B, R, M, 36, 72]` in [0, 1]; zeros where a map is absent.
        words: `[B, L]` int64: 0 is no word, 1 an unknown one, the rest the vocabulary.
        powers_db: `[B, R, K]` of the mono sound; any level, silence where nothing is heard.
    """

    maps: Tensor
    words: Tensor
    powers_db: Tensor


class FieldHead(nn.Module):
    """Compute where each band lies."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        maps = 2 * len(config.channels)
        self.looking = _Courses(2 * maps, config.hidden, wraps=True)
        self.listening = _Courses(3, config.hidden, wraps=False)
        self.standing_out = nn.Linear(config.hidden, 1)
        self.reading = _Reading(config)
        # Learned and plain courses, in windows and over the clip, compared in time and by rate; the caption.
        scores = 4 * (config.heads + maps) + 1
        self.weighing = nn.Sequential(nn.Linear(scores, 32), nn.SiLU(), nn.Linear(32, 1))
        self.prior = nn.Parameter(torch.tensor(PRIOR))

    def forward(self, told: Told) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R, K, C]` of columns and the columns' unit vectors `[B, R, C, 3]` (left, up, front)."""
        columns = _columns(told.maps)
        seen, heard = _with_own_scale(columns), _sounding(told.powers_db)
        looked, listened = self.looking(seen), self.listening(heard)
        plain = columns.movedim(-1, 1), heard[:, 1:2]
        scores = self._scores(looked, listened, plain)
        whole = torch.cat((scores, self.reading(told.words)[:, None, ..., None].expand(*scores.shape[:-1], 1)), -1)
        paired = _over_rows(self.weighing(whole)[..., 0], told.maps.shape[1])
        alone = self.prior * (columns[..., 0] + FLOOR).log() + self._standing_out(looked, told.maps.shape[1])
        return paired + alone[:, :, None], _unit_vectors(told.maps[:, :, 0])

    def _standing_out(self, looked: Tensor, rows: int) -> Tensor:
        """Scores `[B, R, C]` of columns by themselves."""
        return _stretched(self.standing_out(looked.movedim(1, -1))[..., 0], rows).movedim(1, 2)

    def _scores(self, looked: Tensor, listened: Tensor, plain: tuple[Tensor, Tensor]) -> Tensor:
        """Scores `[B, windows, K, C, S]` of each band with each column."""
        heads = self.config.heads
        learned = (listened.unflatten(1, (heads, -1)), looked.unflatten(1, (heads, -1)))
        # Each map's own course beside the band's own level.
        courses = F.avg_pool2d(plain[0].flatten(0, 1), (2, 1), ceil_mode=True).unflatten(0, plain[0].shape[:2])
        level = F.avg_pool2d(plain[1].flatten(0, 1), (1, 2), ceil_mode=True)[:, None, None]
        own = (level.expand(-1, courses.shape[1], -1, -1, -1), courses.transpose(-1, -2)[:, :, None])
        parts = [score for pair in (learned, own) for score in _compared(*pair)]
        return torch.cat(parts, -1)

    def vectors(self, told: Told) -> Tensor:
        """Expected unit vectors `[B, R, K, 3]`."""
        logits, directions = self(told)
        return torch.einsum("brkc,brcd->brkd", logits.softmax(-1), directions)


class _Courses(nn.Module):
    """Convolve courses over time and neighbours: `[B, F, places, R]` to `[B, D, places, N]`; columns wrap."""

    def __init__(self, channels: int, hidden: int, wraps: bool) -> None:
        super().__init__()
        self.mode = "circular" if wraps else "constant"
        self.first = nn.Conv2d(channels, hidden, (3, 5), padding=(0, 2))
        self.second = nn.Conv2d(hidden, hidden, (3, 5), stride=(1, 2), padding=(0, 2))

    def forward(self, courses: Tensor) -> Tensor:
        first = F.silu(self.first(F.pad(courses, (0, 0, 1, 1), self.mode)))
        return self.second(F.pad(first, (0, 0, 1, 1), self.mode))


class _Reading(nn.Module):
    """Let each column's direction read the caption, and compare what it finds with each band: `[B, K, C]`."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.width
        self.words = nn.Embedding(len(config.words) + 2, width, padding_idx=0)
        self.phrases = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(3))
        self.asking = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width))
        self.keys, self.values = nn.Linear(width, width), nn.Linear(width, width)
        self.bands = nn.Parameter(torch.randn(BANDS, width) / math.sqrt(width))
        azimuth = _azimuths()
        waves = [wave(n * azimuth) for n in (1, 2, 3, 4) for wave in (torch.sin, torch.cos)]
        self.register_buffer("directions", torch.stack(waves, -1), persistent=False)

    def forward(self, words: Tensor) -> Tensor:
        known = (words > 0)[:, None]
        # A word of silence behind the others: a caption without words says nothing, to every direction alike.
        x = self.words(words).transpose(1, 2)
        for phrase in self.phrases:
            x = (x + F.silu(phrase(x))) * known
        x = x.transpose(1, 2)
        query, keys, values = (
            t.unflatten(-1, (self.heads, -1)) for t in (self.asking(self.directions), self.keys(x), self.values(x))
        )
        asked = torch.einsum("chd,blhd->bhcl", query, keys) / math.sqrt(query.shape[-1])
        asked = asked.masked_fill(~known[:, None], -1e4).softmax(-1) * known[:, None]
        answers = torch.einsum("bhcl,blhd->bchd", asked, values).flatten(2)
        return torch.einsum("kd,bcd->bkc", self.bands, answers)


def _azimuths() -> Tensor:
    """Yaw of each column's middle in radians, right-positive, as map columns run from -180 degrees."""
    return ((torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 - 1) * math.pi


def _columns(maps: Tensor) -> Tensor:
    """Peak and mean of each map in each column: `[B, R, C, 2 M]`."""
    by_column = maps.unflatten(-1, (COLUMNS, -1)).mean(-1)
    area = erp_area_weights(MAP_SIZE[0]).to(maps)
    mean = (by_column * area).sum(-2) / area.sum()
    # Things fill a small part of their column.
    return torch.cat((by_column.amax(-2), 4 * mean), 2).transpose(2, 3)


def _with_own_scale(columns: Tensor) -> Tensor:
    """Courses of columns as they are and each at its own scale: `[B, 4 M, C, R]`."""
    courses = columns.permute(0, 3, 2, 1)
    return torch.cat((courses, _standard(courses)), 1)


def _sounding(powers_db: Tensor) -> Tensor:
    """Level, loudness and loudness at its own scale of each band: `[B, 3, K, R]`; zeros for silence."""
    loudest = powers_db.amax((1, 2), keepdim=True)
    level = ((powers_db - loudest) / RANGE_DB + 1).clamp(0.0, 1.0) * (loudest > -100)
    # Loudness rises by the root of amplitude, about as courses of things seen do.
    loudness = (10 ** (RANGE_DB / 40 * (level - 1)) - 10 ** (-RANGE_DB / 40)).clamp_min(0.0)
    return torch.stack((level, loudness, _standard(loudness, 1)), 1).transpose(2, 3)


def _standard(courses: Tensor, dim: int = -1) -> Tensor:
    off = courses - courses.mean(dim, keepdim=True)
    return off / (off.square().mean(dim, keepdim=True).sqrt() + 0.01)


def _compared(bands: Tensor, columns: Tensor) -> list[Tensor]:
    """Compare courses of bands `[B, h, D, K, N]` and columns `[B, h, D, C, N]`, in windows and over the whole.

    Returns:
        Four `[B, windows, K, C, h]`: in time and by rate of pulses, in windows; the same over the whole.
    """
    length = bands.shape[-1]
    size = min(WINDOW, length)
    cut = [t.unfold(-1, size, HOP).movedim(-2, 1) for t in (bands, columns)]
    windows = cut[0].shape[1]
    parts = []
    for pair in (cut, [bands[:, None], columns[:, None]]):
        for kind in (_in_time, _by_rate):
            a, b = (kind(t) for t in pair)
            parts.append(torch.einsum("bwhkn,bwhcn->bwkch", a, b).expand(-1, windows, -1, -1, -1))
    return parts


def _in_time(courses: Tensor) -> Tensor:
    """Courses `[..., D, places, n]` as unit vectors `[..., places, D n]`."""
    off = courses - courses.mean(-1, keepdim=True)
    return F.normalize(off.transpose(-3, -2).flatten(-2), dim=-1, eps=0.05)


def _by_rate(courses: Tensor) -> Tensor:
    """The same of the courses' spectra."""
    off = courses - courses.mean(-1, keepdim=True)
    sines, cosines = _waves(off.shape[-1])
    sizes = ((off @ sines.to(off)).square() + (off @ cosines.to(off)).square() + _TINY).sqrt()
    sizes = sizes - sizes.mean(-1, keepdim=True)
    return F.normalize(sizes.transpose(-3, -2).flatten(-2), dim=-1, eps=0.05)


@functools.lru_cache(maxsize=64)
def _waves(steps: int) -> tuple[Tensor, Tensor]:
    """Windowed sines and cosines of the rates that are compared, `[n, rates]`. Read-only."""
    turns = (2 * math.pi * STEP_S) * torch.arange(steps)[:, None] * RATES_HZ
    window = torch.hann_window(steps + 2, periodic=False)[1:-1, None]
    return window * turns.sin(), window * turns.cos()


def _over_rows(windows: Tensor, rows: int) -> Tensor:
    """Interpolate windows `[B, windows, K, C]` to rows `[B, R, K, C]`; the first and the last window hold."""
    size = min(WINDOW, math.ceil(rows / 2))
    place = ((torch.arange(rows, device=windows.device) + 0.5) / 2 - size / 2) / HOP
    place = place.clamp(0.0, windows.shape[1] - 1.0)
    before = place.long()
    after = (before + 1).clamp_max(windows.shape[1] - 1)
    return torch.lerp(windows[:, before], windows[:, after], (place - before)[:, None, None].to(windows))


def _stretched(steps: Tensor, rows: int) -> Tensor:
    """Interpolate steps `[B, C, N]` to rows `[B, C, R]`."""
    return F.interpolate(steps, rows, mode="linear")


def _unit_vectors(saliency: Tensor) -> Tensor:
    """Directions `[B, R, C, 3]` (left, up, front) of columns, each as high as its saliency `[B, R, H, W]` lies."""
    height = saliency.shape[-2]
    pitch = math.pi / 2 - (torch.arange(height, device=saliency.device) + 0.5) / height * math.pi
    weight = (saliency.clamp_min(_TINY) ** 4).unflatten(-1, (COLUMNS, -1)).sum(-1) * pitch.cos()[:, None]
    # Neighbours count: a thing's rim says little about its middle.
    parts = torch.stack(((weight * pitch[:, None]).sum(-2), weight.sum(-2)))
    parts = parts + parts.roll(1, -1) + parts.roll(-1, -1)
    up, yaw = parts[0] / parts[1].clamp_min(1e-30), _azimuths().to(saliency)
    return torch.stack((-yaw.sin() * up.cos(), up.sin(), yaw.cos() * up.cos()), -1)
