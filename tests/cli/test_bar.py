"""The terminal's bar: it says how long the work still takes once its pace is known."""

from __future__ import annotations

import itertools

import pytest

from con360.cli import report
from con360.pace import Pace


def test_the_bar_says_the_seconds_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = itertools.count(0.0, 90.0)
    monkeypatch.setattr(report, "Pace", lambda: Pace(lambda: next(clock)))
    with report.Bar("generating") as bar:
        for done in (0, 1, 2):
            bar.update(done, 6, "sampling")
            assert bar.bar is not None and ("left" in str(bar.bar)) == (done == 2)
        assert str(bar.bar).endswith(", 6 min left")
    assert "generating: sampling" in capsys.readouterr().err
