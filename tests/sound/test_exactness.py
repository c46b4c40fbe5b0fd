"""Every row of the benchmark that has a bar, on few directions."""

from __future__ import annotations

import pytest
from shared_data import data_path

from benchmarks.sound.ambisonics import rows


@pytest.mark.slow
def test_the_table_of_ambisonics_holds() -> None:
    data_path("foa/s3a_audiobooth")
    found = rows(quick=True)
    assert len(found) == 20
    assert [row for row in found if row.holds is False] == []
