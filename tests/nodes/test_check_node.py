"""Check 360° Clip, run in the stand-in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.host import Host

pytestmark = pytest.mark.standin


def prompt(**inputs: Any) -> dict[str, Any]:
    values = {"video": "[built-in sample]", "fps": 8.0, "ambisonics": "auto", "head_locked": False, **inputs}
    return {"1": {"class_type": "Con360CheckClip", "inputs": values}}


def test_the_sample_is_good_and_a_lie_about_its_sound_is_told(host: Host) -> None:
    report, told, must_mend = host.run(prompt()).outputs["1"]
    facts = json.loads(told)
    assert must_mend is False and facts["must_mend"] is False
    assert {one["name"]: one["state"] for one in facts["findings"]}["order"] == "good"
    assert report.count("\n") == len(facts["findings"]) and "good  order: " in report
    lied = host.run(prompt(ambisonics="n3d"))
    assert lied.outputs["1"][2] is True and "mend  order: " in lied.outputs["1"][0]
