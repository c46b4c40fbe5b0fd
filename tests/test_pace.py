"""Seconds left: from the pace of the steps so far, nothing before it is known."""

from __future__ import annotations

import pytest

from con360.pace import Pace, left_in_words


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(pace: Pace, clock: Clock, seconds_per_step: list[float], total: int, what: str = "work") -> list[float | None]:
    found = []
    for done, seconds in enumerate(seconds_per_step):
        clock.now += seconds
        found.append(pace.seconds_left(done, total, what))
    return found


def test_steady_steps_end_when_the_estimate_says(clock: Clock) -> None:
    # A slow start counts for nothing: what is before the first report is no step.
    assert told(Pace(clock), clock, [60, 2, 2, 2, 2], 10) == [None, None, 16, 14, 12]


def test_the_latest_steps_count(clock: Clock) -> None:
    found = told(Pace(clock), clock, [0.0, *[10.0] * 5, *[1.0] * 95], 200)
    assert found[5] == pytest.approx(1950) and found[-1] == pytest.approx(100, abs=1)


def test_nothing_is_told_before_the_pace_is_known(clock: Clock) -> None:
    assert told(Pace(clock), clock, [0, 5], 10) == [None, None]
    assert told(Pace(clock), clock, [0, 0.01, 0.01, 0.01], 1000) == [None] * 4


def test_other_work_and_work_that_starts_again_have_a_pace_of_their_own(clock: Clock) -> None:
    pace = Pace(clock)
    assert told(pace, clock, [1, 1, 1], 4)[-1] == 2
    assert told(pace, clock, [1, 1], 4) == [None, None]
    assert told(pace, clock, [5, 5, 5], 4, "decoding") == [None, None, 10]


def test_many_fast_steps_are_measured_over_seconds(clock: Clock) -> None:
    assert told(Pace(clock), clock, [0.01] * 2001, 4000)[-1] == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s left"), (59.4, "59 s left"), (60, "1 min left"), (204, "3 min 20 s left"), (7502, "2 h 5 min left")],
)
def test_an_estimate_is_said_no_more_exactly_than_it_is_known(seconds: float, words: str) -> None:
    assert left_in_words(seconds) == words
