"""Make the template browser's pictures from the workflows' results: `python -m tools.pictures [NAME ...]`.

Each workflow runs in the stand-in as it is (minutes on a processor); those that need weights show the conditions of
the first.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from con360.drawing.overlay import draw_overlay
from con360.records import SaliencyMaps
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from tools.host import Host
from tools.host.run import PACK
from tools.workflow_form import Workflow, ui_format
from tools.workflows import FULL_SIZE, PUBLIC_WEIGHTS, SHIPPED, STARTS_HERE, VIEWPOINT

SIDE, MOMENT = 400, 0.5
# Workflows of sound, and the node whose picture shows its energy.
LISTENED = {"con360_place_sound": "6", "con360_headphones": "6", "con360_any_generator": "4",
            "con360_ambisonics": "4"}  # fmt: skip
PAPER, INK, MARK = (24, 27, 33), (235, 238, 242), (255, 214, 0)


def picture(frame: Tensor, size: tuple[int, int]) -> Image.Image:
    """One frame `[H, W, 3]` or map `[H, W]` in [0, 1]; small ones are enlarged smoothly."""
    pixels = (frame if frame.ndim == 3 else frame[..., None].expand(-1, -1, 3)).clamp(0, 1).mul(255).byte().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC)


def middle(value: Any) -> Tensor:
    return value[int(len(value) * MOMENT)]


def overlay(outputs: dict[str, Any]) -> Tensor:
    """The panorama with its saliency and each viewpoint's outline."""
    frames, found = outputs["1"][0].movedim(-1, 1), outputs["2"][0]
    moment = int(len(frames) * MOMENT)
    drawn, maps = frames[moment : moment + 1], SaliencyMaps(found[moment : moment + 1], "mask")
    records = [outputs[key][0] for key in ("3", "9") if key in outputs]
    for record in [one for item in records for one in (item if isinstance(item, list) else [item])]:
        if hasattr(record, "maps"):
            track = record.maps.track.at([moment])
            drawn, maps = draw_overlay(drawn, maps, track, basd=False), None
    return drawn[0].movedim(0, -1)


def sheet(tiles: list[tuple[Image.Image, tuple[int, int], str]]) -> Image.Image:
    """Lay out tiles, each with a word in its corner."""
    page = Image.new("RGB", (SIDE, SIDE), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for image, place, word in tiles:
        page.paste(image, place)
        if word:
            corner = place[0] + 8, place[1] + image.height - 26
            draw.rounded_rectangle((corner[0] - 4, corner[1] - 2, corner[0] + font.getlength(word) + 4, corner[1] + 20),
                                   4, fill=PAPER)  # fmt: skip
            draw.text(corner, word, INK, font)
    return page


def tiles_of(name: str, outputs: dict[str, Any]) -> list[tuple[Image.Image, tuple[int, int], str]]:
    half, third = SIDE // 2, SIDE // 3
    if name == "con360_control_ablation":
        words = {"7": "caption alone", "8": "saliency", "9": "BASD", "10": "both"}
        places = [(0, 0), (half, 0), (0, half), (half, half)]
        return [(picture(middle(outputs[key][0]), (half, half)), place, word)
                for (key, word), place in zip(words.items(), places, strict=True)]  # fmt: skip
    if name == "con360_reframe":
        source = demo_scene().panorama(256, ClipSpec(seconds=0.5)).frames[0].movedim(0, -1)
        flat = picture(middle(outputs["1"][0].get_components().images), (half, half))
        return [(picture(source, (SIDE, half)), (0, 0), "360°"), (flat, (half // 2, half), "flat")]
    if name == "con360_back_into_360":
        return [
            (picture(middle(outputs["9"][0]), (SIDE, half)), (0, 0), "back in its place"),
            (picture(middle(outputs["7"][0]), (half, half)), (half // 2, half), "generated"),
        ]
    if name in LISTENED:
        return heard(name, outputs)
    if name == "con360_time_track":
        return [(picture(overlay(outputs), (SIDE, half)), (0, 0), ""), (struck(outputs), (0, half), "generated")]
    top = (picture(overlay(outputs), (SIDE, half)), (0, 0), "")
    if name == "con360_three_dials":
        made = picture(_square(middle(outputs["7"][0])), (half, half))
        return [(top[0], (0, 0), "where"), (struck(outputs).resize((half, half)), (0, half), "when"),
                (made, (half, half), "what")]  # fmt: skip
    if name == "con360_every_centroid":
        views = [middle(frames) for frames in outputs["7"][0]]
        return [top, *((picture(view, (third, third)), (i * third + i, half + (half - third) // 2), str(i + 1))
                       for i, view in enumerate(views))]  # fmt: skip
    pairs = {
        "con360_1_starts_here": [("7", 0, "")],
        "con360_viewpoint": [("7", 0, "generated"), ("10", 0, "real view")],
        "con360_two_viewpoints": [("7", 0, "first"), ("10", 0, "second")],
        "con360_many_views": [("7", 0, "first"), ("10", 0, "second, same sound")],
        "con360_own_footage": [("7", 0, "")],
        "con360_best_of": [("7", 0, "first seed"), ("9", 0, "best of 3")],
        FULL_SIZE.name: [("10", 0, "view"), ("3", 1, "BASD")],
        PUBLIC_WEIGHTS.name: [("2", 0, "saliency"), ("3", 1, "BASD")],
    }[name]
    size = (half, half)
    below = [(picture(_square(middle(outputs[key][slot])), size), word) for key, slot, word in pairs]
    left = (SIDE - half * len(below)) // 2
    return [top, *((image, (left + half * i, half), word) for i, (image, word) in enumerate(below))]


def heard(name: str, outputs: dict[str, Any]) -> list[tuple[Image.Image, tuple[int, int], str]]:
    """The panorama with the sound's energy, above what the workflow is about."""
    half, sixth = SIDE // 2, SIDE // 6
    top = (picture(middle(outputs[LISTENED[name]][0]), (SIDE, half)), (0, 0), "energy of the sound")
    if name in ("con360_place_sound", "con360_ambisonics"):
        return [top, (picture(outputs[LISTENED[name]][1][0], (SIDE, half)), (0, half), "")]
    if name == "con360_headphones":
        return [top, (ears_of(outputs["4"][0]["waveform"][0], (SIDE, half)), (0, half), "left and right")]
    views = [picture(middle(frames), (sixth - 4, sixth - 4)) for frames in outputs["2"][0]]
    return [top, *((view, (i * sixth + 4, half + (half - sixth) // 2), "") for i, view in enumerate(views))]


def struck(outputs: dict[str, Any]) -> Image.Image:
    """The drawn moments over the generated sound."""
    sound, onsets = outputs["7"][1], outputs["9"][0].onsets
    page = ears_of(sound["waveform"][0], (SIDE, SIDE // 2))
    draw, seconds = ImageDraw.Draw(page), sound["waveform"].shape[-1] / sound["sample_rate"]
    for time, strength in zip(onsets.times_s, onsets.strengths, strict=True):
        x, top = time / seconds * page.width, page.height * (1 - 0.95 * strength)
        draw.line((x, top, x, page.height), MARK, 2)
        draw.ellipse((x - 4, top - 4, x + 4, top + 4), MARK)
    return page


def ears_of(waveform: Tensor, size: tuple[int, int]) -> Image.Image:
    """The peaks of a sound over time, its channels below each other."""
    page = Image.new("RGB", size, PAPER)
    draw, (width, height) = ImageDraw.Draw(page), size
    columns = waveform.abs().unfold(1, waveform.shape[1] // width, waveform.shape[1] // width).amax(2)
    ears = len(columns)
    reach = columns / columns.max() * height / 2 / ears
    for ear in range(ears):
        line = height * (1 + 2 * ear) // (2 * ears)
        for x, tall in enumerate(reach[ear, :width].tolist()):
            draw.line((x, line - tall, x, line + tall), INK)
    return page


def _square(frame: Tensor) -> Tensor:
    """The middle of a frame or map."""
    height, width = frame.shape[:2]
    return frame[:, (width - height) // 2 : (width + height) // 2] if width > height else frame


def main() -> None:
    for workflow in SHIPPED:
        if sys.argv[1:] and workflow.name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as base:
            shown_by = VIEWPOINT if workflow in (STARTS_HERE, FULL_SIZE, PUBLIC_WEIGHTS) else workflow
            outputs = run(shown_by, Path(base))
            page = sheet(tiles_of(workflow.name, outputs))
        path = PACK / "workflows" / f"{workflow.name}.jpg"
        page.save(path, quality=82, optimize=True)
        print(path.relative_to(PACK), path.stat().st_size, "bytes", flush=True)


def run(workflow: Workflow, base: Path) -> dict[str, Any]:
    host = Host(base)
    done = host.run(ui_format(workflow, host.object_info()))
    if done.status != "done":
        raise SystemExit(f"{workflow.name}: {done.error or done.complaints}")
    return done.outputs


if __name__ == "__main__":
    main()
