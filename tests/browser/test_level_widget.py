"""Level 360° Video's panel: what it shows of a turn that is set is what the saved file shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from browser.hands import ENDS, wait
from browser.page import ComfyPage
from PIL import Image

from con360.media.writer import write_clip
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from tools.workflow_form import Column, Node, Workflow, ui_format

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

KIND = "Con360Level360Video"


def seen(page: ComfyPage) -> np.ndarray:
    """The middle of the panel's picture, small; its edge is left out, where the panel's frame may show."""
    shot = Image.open(io.BytesIO(page.panel(KIND).screenshot())).convert("RGB").resize((64, 32))
    return np.asarray(shot, np.float32)[2:-2, 2:-2]


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_a_turn_that_is_set_looks_like_the_file_that_is_saved(comfy: ComfyPage) -> None:
    frames = demo_scene().panorama(128, ClipSpec(seconds=0.5)).frames[:1].expand(4, -1, -1, -1)
    write_clip(comfy.server.base / "input" / "tilted.mp4", torch.as_tensor(frames), 8.0, panorama="mono")
    turn = {"yaw": 40, "pitch": -15, "roll": 20, "recentre": 25}
    level = Workflow("level", [Column("level", 420, [Node(1, KIND, 620, video="tilted.mp4", **turn)])], app=([], []))
    comfy.load(ui_format(level, comfy.server.object_info()))
    comfy.complaints.clear()
    asked: list[str] = []
    comfy.page.on("response", lambda answer: asked.append(answer.url))
    comfy.show(KIND)
    wait(comfy, lambda: comfy.panel(KIND, ".con360-clock").inner_text(), "0.0 / 0.5 s")
    comfy.queue()
    wait(comfy, lambda: any("Con360-level" in url for url in asked), True)
    comfy.drawn()
    saved = seen(comfy)
    comfy.shot("level")
    # Asked for otherwise, the chosen file is shown through the turn; of one eye, `whole` changes nothing else.
    comfy.set_value(KIND, "eye", "whole")
    wait(comfy, lambda: 0 < np.abs(seen(comfy) - saved).mean() < 5, True)
    comfy.set_value(KIND, "roll", -60)
    wait(comfy, lambda: bool(np.abs(seen(comfy) - saved).mean() > 15), True)
    assert comfy.complaints == []
