"""Test spans: what lies in them, which are refused, and how a remade sound joins the one around it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from con360.anew.span import Span, check_span, joined_frames, joined_sound, span_of_text
from con360.errors import InputError

RATE, JOIN = 16000, 640


def noise(seed: int, seconds: float = 1.0) -> Tensor:
    return 0.1 * torch.randn(1, round(RATE * seconds), generator=torch.Generator().manual_seed(seed))


def level_db(wave: Tensor) -> float:
    return 10 * math.log10(float(wave.square().mean()))


def test_what_reaches_out_of_a_span_is_outside() -> None:
    assert Span(1.5, 2.5).inside(32, 1 / 8) == range(12, 20)
    assert Span(1.55, 2.45).inside(32, 1 / 8) == range(13, 19)
    assert Span(0.0, 4.0).inside(32, 1 / 8) == range(32)
    assert Span(0.1, 0.7).inside(64000, 1 / RATE) == range(1600, 11200), "no sample is lost to rounding"
    assert len(Span(0.01, 0.1).inside(32, 1 / 8)) == 0


@pytest.mark.parametrize("text", ["1.5-2.5", " 1.5 - 2.5 ", "1.50-2.500"])
def test_a_span_is_two_numbers(text: str) -> None:
    assert span_of_text(text) == Span(1.5, 2.5)


@pytest.mark.parametrize("text", ["", "1.5", "1.5-", "-1-2", "1,5-2,5", "a-b", "1-2-3", "nan-2"])
def test_other_words_are_no_span(text: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read; write its two ends in seconds, such as 1\.5-2\.5"):
        span_of_text(text)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (2.5, 1.5, "ends before it begins; write 1.5-2.5"),
        (1.5, 1.5, "lasts 0 s; the shortest that fits is 0.25 s"),
        (1.5, 1.7, "shortest that fits is 0.25 s"),
        (3.5, 4.5, "reaches outside the clip; choose one within 0-4 s"),
        (5.0, 6.0, "reaches outside the clip"),
        (-1.0, 1.0, "reaches outside the clip"),
        (1.0, math.nan, "reaches outside the clip"),
    ],
)
def test_spans_that_cannot_be_made_anew_are_named(start: float, end: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_span(Span(start, end), 4.0)


def test_ends_near_the_clips_own_become_them() -> None:
    assert check_span(Span(0.0004, 3.9996), 4.0) == Span(0.0, 4.0)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_joins_keep_power_lie_inside_and_do_not_click(alike: float) -> None:
    first, other = noise(1), noise(2)
    made = alike * first + math.sqrt(1 - alike**2) * other
    span = range(4000, 12000)
    mixed = joined_sound(first, made, span, JOIN)
    outside = torch.ones(RATE, dtype=torch.bool)
    outside[span.start : span.stop] = False
    assert torch.equal(mixed[:, outside], first[:, outside])
    inner = slice(span.start + JOIN, span.stop - JOIN)
    assert torch.equal(mixed[:, inner], made[:, inner])
    for join in (slice(span.start, span.start + JOIN), slice(span.stop - JOIN, span.stop)):
        assert abs(level_db(mixed[:, join]) - level_db(first[:, join])) < 1.0
    # Beside a hard cut between two tones of other phases, the step at the join is small.
    time_s = torch.arange(RATE) / RATE
    tones = [torch.sin(2 * math.pi * 440 * time_s + phase)[None] for phase in (0.0, 2.0)]
    steps = (joined_sound(*tones, span, JOIN).diff() - tones[0].diff()).abs()[0]
    cut = (tones[1][0, 4000] - tones[0][0, 3999]).abs()
    assert steps[3990:4010].max() < 0.02 < 0.5 < cut


def test_the_same_sound_joins_to_itself() -> None:
    first = noise(3)
    assert torch.allclose(joined_sound(first, first, range(4000, 12000), JOIN), first, atol=1e-7)


def test_a_span_at_the_clips_ends_has_no_join_there() -> None:
    first, made = noise(4), noise(5)
    assert torch.equal(joined_sound(first, made, range(RATE), JOIN), made)
    mixed = joined_sound(first, made, range(8000), JOIN)
    assert torch.equal(mixed[:, : 8000 - JOIN], made[:, : 8000 - JOIN])
    assert torch.equal(joined_sound(first, made, range(8000, RATE), JOIN)[:, 8000 + JOIN :], made[:, 8000 + JOIN :])


def test_silence_joins_without_a_number_that_is_none() -> None:
    silence = torch.zeros(1, RATE)
    assert torch.isfinite(joined_sound(silence, silence, range(4000, 12000), JOIN)).all()


def test_frames_of_the_span_alone_are_taken() -> None:
    first, made = torch.zeros(8, 3, 2, 2), torch.ones(8, 3, 2, 2)
    assert joined_frames(first, made, range(2, 5))[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert not first.any(), "the first clip is not written into"
