"""A drawn track on a real server: it steers the sampler, the preview tells what came, a wrong text is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfyui.server import ComfyServer
from tiny_workflow import tiny_workflow

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]


def prompt(text: str) -> dict[str, Any]:
    """Half a second of the sample, whose sound shall follow a text."""
    drawn = {"track": text, "source": "what is drawn", "duration": 0.5, "fps": 8.0, "images": ["1", 0]}
    compared = {"track": ["21", 0], "audio": ["7", 1], "fps": 8.0, "images": ["7", 0]}
    return {
        **tiny_workflow(when=["21", 0], steps=1),
        "21": {"class_type": "Con360TimeTrack", "inputs": drawn},
        "22": {"class_type": "Con360TimeTrackPreview", "inputs": compared},
    }


def test_a_track_is_followed_and_compared(server: ComfyServer) -> None:
    text = json.dumps({"onsets": [{"time": 0.1}, {"time": 0.3, "strength": 0.5}]})
    outcome = server.run(prompt(text))
    assert outcome.status == "success", outcome.messages[-1]
    (editor,), (preview,) = (outcome.outputs[node]["con360"] for node in ("21", "22"))
    assert editor["track"] == text and editor["picture"] and server.file(editor["clip"]).is_file()
    assert [onset["time"] for onset in preview["asked"]["onsets"]] == [0.1, 0.3]
    onsets, loudness = preview["notices"]
    assert "of 2 asked came within 50 ms" in onsets and "silence: " in loudness
    assert server.file(preview["clip"]).is_file()


def test_a_wrong_text_is_refused_before_anything_runs(server: ComfyServer) -> None:
    outcome = server.run(prompt('{"onsets": [{"time": 1}'))
    told = [error["details"] for error in outcome.refusal["node_errors"]["21"]["errors"]]
    assert outcome.status == "refused" and any("no JSON" in text for text in told)
