"""Check files with one known fault each: the fault is told, and the good file has nothing to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.check.base import procedural
from benchmarks.check.faults import FAULTS
from benchmarks.check.table import GOOD, confusion, is_found, measure, summary
from con360.checking.findings import NAMES, in_order

# One of each way to find: the rest is slow.
QUICK = ("equi-angular cubemap", "rolled by 14°", "N3D said to be AmbiX")


def test_faults_are_told_and_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [fault for fault in FAULTS if fault.name in QUICK]
    assert len(faults) == len(QUICK)
    monkeypatch.setattr("benchmarks.check.table.FAULTS", faults)
    good, *results = measure(procedural(256), tmp_path)
    assert not good.checked.must_mend
    assert [result.fault for result in results if not is_found(result)] == []
    assert all(result.checked.findings == in_order(result.checked.findings) for result in results)
    table = confusion([good, *results])
    assert table.count("\n") == 2 + len(QUICK) and "| **1** |" in table
    assert f"| {len(QUICK)} of {len(QUICK)} |" in summary([good, *results])


@pytest.mark.slow
def test_every_other_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [fault for fault in FAULTS if fault.name not in QUICK]
    assert len(FAULTS) >= 30
    monkeypatch.setattr("benchmarks.check.table.FAULTS", others)
    results = list(measure(procedural(256), tmp_path))
    assert len(results) == 1 + len(others)
    assert [result.fault for result in results if result.fault != GOOD and not is_found(result)] == []
    # A pair is judged in test_check_sound.py.
    assert set(NAMES) - {fault.finding for fault in FAULTS} == {"pair"}
    # What was put into the sound is not seen in the picture.
    heard = [result for result in results if result.finding in ("sound", "channels", "order")]
    assert all(result.checked.state("seam") in ("good", None) for result in heard)
