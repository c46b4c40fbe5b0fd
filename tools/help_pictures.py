"""The pictures of the help pages, `web/docs/images`: `python -m tools.help_pictures [NODE ...]`.

They are taken in a browser on a real ComfyUI after a run. Take them again after a change to a node.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from browser.page import ComfyPage, browser, current_frontend
from comfyui.server import PACK, ComfyServer, find_comfyui
from PIL import Image

from tools.workflow_form import Column, Node, To, Workflow, ui_format
from tools.workflows import (
    AMBISONICS,
    ANY_GENERATOR,
    BACK_INTO_360,
    BEST_OF,
    CENTROIDS,
    HEADPHONES,
    PLACE_SOUND,
    REFRAME,
    VIEWPOINT,
)

FOLDER = PACK / "web" / "docs" / "images"
SCALE, EDGE = 0.8, 8
# Nodes that no shipped workflow has.
OTHERS = Workflow("others", [Column("others", 420, [
    Node(1, "Load360Video", 700, height=256),
    Node(2, "Con360ViewpointByHand", 860, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"), yaw=60,
         pitch=10),
    Node(3, "Save360Video", 500, frames=To(1, "frames"), fps=To(1, "fps"), audio=To(1, "audio")),
    Node(4, "Con360OverlayPreview", 420, frames=To(1, "frames"), basd=To(2, "basd")),
    Node(5, "Con360SaliencyKL", 110, generated=To(1, "frames"), target=To(4, "frames")),
    Node(6, "Con360RotateAmbisonics", 260, audio=To(1, "audio"), yaw=30),
    Node(7, "Con360Level360Video", 620, roll=12),
])], app=([], []))  # fmt: skip
# Long to run, and shown as well without.
FIELD = Workflow("field", [Column("field", 420, [
    Node(1, "Load360Video", 700, height=256),
    Node(2, "SalViT360Saliency", 200, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps")),
    Node(3, "CentroidToBASD", 880, saliency=To(2, "saliency"), frames=To(1, "frames"), fps=To(1, "fps")),
    Node(4, "Con360ControlLoader", 110),
    Node(5, "Con360SoundField", 240, control=To(4, "control"), saliency=To(2, "for_control"), basd=To(3, "basd"),
         audio=To(1, "audio"), frames=To(1, "frames"), caption="a red disc hums on the left"),
])], app=([], []))  # fmt: skip
# One that needs no run to be shown.
SPAN = Workflow("span", [Column("span", 340, [Node(1, "Con360RedoSpan", 420)])], app=([], []))
CHECKED = Workflow("checked", [Column("checked", 420, [Node(1, "Con360CheckClip", 420)])], app=([], []))
MEANING = Workflow("meaning", [Column("meaning", 420, [
    Node(1, "Load360Video", 700, height=128),
    Node(2, "Con360ModelLoader", 260),
    Node(3, "Con360MeaningLoader", 130, model=To(2, "model")),
    Node(4, "Con360Meaning", 300, encoder=To(3, "encoder"), images=To(1, "frames"), audio=To(1, "audio"),
         fps=To(1, "fps"), caption="a red disc hums in front"),
])], app=([], []))  # fmt: skip
GUIDE = Workflow("guide", [Column("guide", 420, [Node(1, "Con360MeaningGuide", 250)])], app=([], []))
# A drawing beside a sound that needs no model.
DRAWN = json.dumps(
    {
        "onsets": [{"time": 1}, {"time": 2, "strength": 0.7}, {"time": 2.5}, {"time": 3.03}],
        "envelope": {"points": [{"time": 0, "db": -48}, {"time": 1.5, "db": -14}, {"time": 4, "db": -30}]},
    }
)
TRACKED = Workflow("tracked", [Column("tracked", 420, [
    Node(1, "Load360Video", 700, height=128, fps=15),
    Node(2, "Con360SampleSound", 110, voice="bell"),
    Node(3, "Con360TimeTrack", 760, audio=To(2, "audio"), images=To(1, "frames"), fps=To(1, "fps"), track=DRAWN),
    Node(4, "Con360TimeTrackPreview", 640, track=To(3, "track"), audio=To(2, "audio")),
])], app=([], []))  # fmt: skip
# (workflow, must it run first, nodes to show)
TAKEN: list[tuple[Workflow, bool, list[str]]] = [
    (VIEWPOINT, True, ["Load360Video", "SalViT360Saliency", "CentroidToBASD", "CubemapCaption", "Con360ModelLoader",
                       "Con360ControlLoader", "JointAVSampler", "Con360ViewpointCrop", "Con360OverlayPreview",
                       "Con360Compare"]),
    (REFRAME, True, ["Reframe360Video"]),
    (BACK_INTO_360, False, ["Con360Project"]),
    (CENTROIDS, False, ["Con360Centroids"]),
    (OTHERS, True, ["Con360ViewpointByHand", "Save360Video", "Con360SaliencyKL", "Con360RotateAmbisonics",
                    "Con360Level360Video"]),
    (SPAN, False, ["Con360RedoSpan"]),
    (PLACE_SOUND, True, ["Con360PlaceSound", "Con360MixAmbisonics", "Con360AmbisonicsPreview", "Con360SampleSound"]),
    (HEADPHONES, False, ["Con360AmbisonicsToHeadphones"]),
    (ANY_GENERATOR, False, ["Con360ViewsAround", "Con360SoundsToField"]),
    (AMBISONICS, False, ["Con360OmniAudioLoader", "Con360VideoToAmbisonics"]),
    (FIELD, False, ["Con360SoundField"]),
    (TRACKED, True, ["Con360TimeTrack", "Con360TimeTrackPreview"]),
    (CHECKED, True, ["Con360CheckClip"]),
    (MEANING, False, ["Con360MeaningLoader", "Con360Meaning"]),
    (GUIDE, False, ["Con360MeaningGuide"]),
    (BEST_OF, True, ["Con360BestOf"]),
]  # fmt: skip

PLACE = """([kind, scale]) => {
  const node = window.app.graph._nodes.find((n) => n.type === kind), canvas = window.app.canvas;
  canvas.deselectAll();
  canvas.ds.scale = scale;
  canvas.ds.offset[0] = -node.pos[0] + 120 / scale;
  canvas.ds.offset[1] = -node.pos[1] + 140 / scale;
  canvas.setDirty(true, true);
  const box = canvas.canvas.getBoundingClientRect();
  return [box.x + 120, box.y + 140 - 30 * scale, node.size[0] * scale, (node.size[1] + 30) * scale];
}"""


def take(page: ComfyPage, kind: str) -> bytes:
    x, y, width, height = page.run(PLACE, [kind, SCALE])
    page.drawn()
    page.page.wait_for_timeout(1500)
    clip: dict[str, Any] = {"x": x - EDGE, "y": y - EDGE, "width": width + 2 * EDGE, "height": height + 2 * EDGE}
    with Image.open(io.BytesIO(page.page.screenshot(clip=clip))) as shot:
        kept = io.BytesIO()
        shot.convert("RGB").save(kept, "JPEG", quality=80, optimize=True)
    return kept.getvalue()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    options = ["--front-end-root", str(current_frontend())]
    with browser() as running, tempfile.TemporaryDirectory() as base:
        with ComfyServer(Path(base), find_comfyui(), options=options) as server:
            context = running.new_context(viewport={"width": 1000, "height": 1200})
            context.set_default_timeout(300_000)
            page = ComfyPage(context.new_page(), server, "pictures")
            page.open(**{"Comfy.ColorPalette": "dark", "Comfy.VueNodes.Enabled": False})
            for workflow, run, shown in TAKEN:
                kinds = [kind for kind in shown if not sys.argv[1:] or kind in sys.argv[1:]]
                if not kinds:
                    continue
                page.load(ui_format(workflow, server.object_info()))
                if run:
                    page.queue(600)
                for kind in kinds:
                    (FOLDER / f"{kind}.jpg").write_bytes(take(page, kind))
                    print(kind, (FOLDER / f"{kind}.jpg").stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
