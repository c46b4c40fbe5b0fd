"""The running node's bar and text: seconds left once they are known, and a bar that newer cores do not hold back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin


@pytest.fixture
def runtime(host: Host, pack: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    module, clock = pack("nodes.host.runtime"), itertools.count(0.0, 2.0)
    pace = module.Pace
    monkeypatch.setattr(module, "Pace", lambda: pace(lambda: next(clock)))
    monkeypatch.setattr(host._signals, "texts", [])
    monkeypatch.setattr(host._signals, "node_id", "7")
    return module


def test_the_node_says_how_long_it_still_takes(host: Host, runtime: Any) -> None:
    with installed(host._modules):
        report = runtime.progress()
        for done in range(6):
            report(done, 5, "sampling")
    # 4 and 2 s, of which the last is too short to tell, and a blank instead of it.
    assert host._signals.texts == [("7", "sampling: 6 s left"), ("7", "sampling: 4 s left"), ("7", " ")]


def test_a_second_stage_moves_the_bar_also_where_the_core_holds_back(
    host: Host, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer cores send the first value of a bar, the last, and what lies half a percent beyond the one sent before."""
    sent = []

    class NewerBar:
        def __init__(self, total: int) -> None:
            self.last = -1

        def update_absolute(self, value: int, total: int, preview: Any = None) -> None:
            if self.last < 0 or value >= total or value - self.last >= 0.005 * total:
                sent.append(value)
                self.last = value

    monkeypatch.setattr(runtime.comfy.utils, "ProgressBar", NewerBar)
    with installed(host._modules):
        report = runtime.progress()
        for what in ("saliency", "writing"):
            for done in range(1, 5):
                report(done, 4, what)
    assert sent == [1, 2, 3, 4, 1, 2, 3, 4]
