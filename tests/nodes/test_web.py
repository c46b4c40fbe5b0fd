"""The widgets, as far as they can be tested without a browser: geometry, languages, forbidden calls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from con360.geometry.perspective import fov_outline, inside_view
from con360.geometry.sphere import directions, rotation
from con360.media.wav import wav_stream
from con360.records import SourcePoint, SourceTrack, View
from con360.sound.ambisonics import stereo_matrix
from con360.sound.headphones import EARS_FILE
from con360.sound.rotation import turn_matrices
from con360.sound.source_tracks import track_from_json
from con360.sound.sources import source_gains, track_at
from con360.viewpoint.keyframes import keyframes_from_json, view_at
from tools.host import Host
from tools.host.run import PACK

pytestmark = pytest.mark.standin

SCRIPTS = sorted((PACK / "web").rglob("*.js"))
LOCALES = sorted(path for path in (PACK / "locales").iterdir() if path.is_dir())
VIEWS = [View(0.0), View(170.0, 10.0, 120.0), View(-60.0, 85.0, 60.0, 33.0), View(33.3, -90.0, 150.0, -170.0)]
ASPECTS = [1.0, 16 / 9, 9 / 16]
FRAMES = [
    {"time": 0.5, "yaw": 170, "pitch": 0, "fov": 90}, {"time": 2, "yaw": -100, "pitch": 40, "fov": 60},
    {"time": 3, "yaw": 80, "pitch": -40, "fov": 61, "roll": 170, "ease": "hold"},
    {"time": 4, "yaw": 90, "pitch": -30, "fov": 70, "roll": -160, "ease": "smooth"},
    {"time": 5, "yaw": 120, "pitch": -35, "fov": 90, "roll": -160, "ease": "smooth"},
    {"time": 6.5, "yaw": -170, "pitch": 10, "fov": 95, "ease": "smooth"}, {"time": 9, "yaw": 0, "pitch": 0, "fov": 90},
]  # fmt: skip
FRAMES_TEXT = json.dumps(FRAMES)
# As web/edited.js fills in what a keyframe of a view lacks.
WHOLE = '({ time, yaw, pitch, fov, roll = 0, ease = "linear" }) => ({ time, yaw, pitch, fov, roll, ease })'


# Scripts that need no page.
MODULES = ("geometry.js", "hearing.js", "ears.js", "placed.js", "field.js", "keyframes.js", "track.js")


def node(script: str, argument: Any) -> Any:
    """Run a script with each module under its first letter and an argument as `a`; return what it prints as JSON."""
    binary = shutil.which("node")
    if binary is None:
        pytest.skip("no node on the PATH: the editor's geometry was NOT compared with the library's")
    imports = [f"import * as {name[0]} from {json.dumps((PACK / 'web' / name).as_uri())};" for name in MODULES]
    code = f"{''.join(imports)} const a = JSON.parse(process.argv[1]); console.log(JSON.stringify({script}))"
    command = [binary, "--input-type=module", "--no-warnings", "-e", code, json.dumps(argument)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def plain(view: View) -> dict[str, float]:
    return {"yaw": view.yaw_deg, "pitch": view.pitch_deg, "fov": view.fov_deg, "roll": view.roll_deg}


def test_the_editors_outline_is_the_librarys() -> None:
    framed = [(view, aspect) for view in VIEWS for aspect in ASPECTS]
    drawn = node("a.map((view) => g.fovOutline(view, 16))", [plain(view) | {"aspect": wide} for view, wide in framed])
    ours = torch.stack([fov_outline(view, 16, dtype=torch.float64, aspect=wide) for view, wide in framed])
    assert torch.allclose(torch.tensor(drawn, dtype=torch.float64), ours, atol=1e-12)


def test_the_editor_sees_what_the_view_sees() -> None:
    places = [(yaw, pitch) for yaw in range(-180, 180, 15) for pitch in (-88, -40, -7, 0, 20, 61)]
    script = "a[0].map((view) => a[1].map(([yaw, pitch]) => g.sees(view, { yaw, pitch })))"
    framed = [(view, aspect) for view in VIEWS for aspect in ASPECTS]
    seen = node(script, [[plain(view) | {"aspect": wide} for view, wide in framed], places])
    dirs = directions(*torch.tensor(places, dtype=torch.float64).T)
    for (view, wide), row in zip(framed, seen, strict=True):
        assert row == inside_view(dirs, view, wide).tolist()


def test_the_editors_path_is_the_librarys() -> None:
    times = [0, 0.5, 0.7, 1.9, 2, 2.5, 3, 3.2, 4, 4.4, 5, 5.9, 7, 8.8, 9]
    drawn = node(f"a[1].map((time) => k.viewAt(k.readKeyframes(a[0], {WHOLE}), time))", [FRAMES_TEXT, times])
    keyframes = keyframes_from_json(FRAMES_TEXT)
    for time, shown in zip(times, drawn, strict=True):
        assert shown == pytest.approx(plain(view_at(keyframes, time))), time


def test_what_the_editor_writes_the_library_reads() -> None:
    kept = "({ time: _, ...frame }) => frame"
    text = node(f"k.writeKeyframes(k.readKeyframes(a, {WHOLE}), {kept})", json.dumps(FRAMES[::-1]))
    assert keyframes_from_json(text) == keyframes_from_json(FRAMES_TEXT)
    for wrong in ("{}", "[3]", '[{"time": 0, "yaw": "0", "pitch": 0, "fov": 90}]', FRAMES_TEXT.replace("hold", "jump")):
        assert node(f"k.readKeyframes(a, {WHOLE})", wrong) == [], wrong


def test_a_keyframe_that_is_put_on_another_takes_its_place() -> None:
    script = (
        "[k.put(a, { time: 2.004, yaw: 1 }), k.moved(a, a[0], 5), k.moved(a, a[0], 3.0004), k.put(a, { time: -1 })]"
    )
    put, behind, onto, early = (
        [(frame["time"], frame.get("yaw")) for frame in frames]
        for frames in node(script, [{"time": 0, "yaw": 9}, {"time": 2, "yaw": 8}, {"time": 3, "yaw": 7}])
    )
    assert put == [(0, 9), (2.004, 1), (3, 7)]
    assert behind == [(2, 8), (3, 7), (5, 9)] and onto == [(2, 8), (3, 9)]
    assert early == [(0, None), (2, 8), (3, 7)]


def test_times_snap_to_marks_then_to_the_grid() -> None:
    script = "a.map(([time, reach, grid]) => k.snapped(time, [1.03, 1.2], reach, grid))"
    asked = [(1.0, 0.05, 0.1), (1.0, 0.02, 0.1), (1.149, 0.06, 0.1), (2.26, 0.05, 0.1), (0.51, 0.05, 1 / 30)]
    assert node(script, asked) == [1.03, 1.0, 1.2, 2.3, 0.5]


def test_the_editors_sound_of_a_view_is_reframings_mix() -> None:
    mixed = node("a.map((view) => h.stereoGains(view))", [plain(view) for view in VIEWS])
    for view, gains in zip(VIEWS, mixed, strict=True):
        turned = turn_matrices(rotation(view.yaw_deg, view.pitch_deg, view.roll_deg, dtype=torch.float64))
        assert torch.allclose(torch.tensor(gains, dtype=torch.float64), stereo_matrix() @ turned, atol=1e-12), view


def test_the_editors_placed_sound_is_the_librarys() -> None:
    places = [SourcePoint(30.0), SourcePoint(-170.0, 40.0, 0.2, 0.0, -6.0), SourcePoint(90.0, -80.0, 8.0, 200.0, 3.0)]
    script = "a.map((place) => [p.sourceGains(place), p.earGains(place)])"
    rows = [dict(zip(("yaw", "pitch", "distance", "spread", "gain"), astuple(place), strict=True)) for place in places]
    for place, (field, ears) in zip(places, node(script, rows), strict=True):
        ours = source_gains(SourceTrack.still(place), [0.0])[0]
        assert torch.allclose(torch.tensor(field, dtype=torch.float64), ours, atol=1e-12), place
        assert torch.allclose(torch.tensor(ears, dtype=torch.float64), stereo_matrix() @ ours, atol=1e-12), place


def test_the_editors_path_of_a_sound_is_the_librarys() -> None:
    text = json.dumps([{"time": 1, "yaw": 170, "distance": 2}, {"time": 3, "yaw": -170, "pitch": 10, "spread": 40}])
    keys = ("yaw", "pitch", "distance", "spread", "gain")
    times = [0, 1, 1.5, 2.9, 7]
    track = track_from_json(text)
    whole = [{"time": time_s, **dict(zip(keys, astuple(point), strict=True))}
             for time_s, point in zip(track.times_s, track.points, strict=True)]  # fmt: skip
    drawn = node("a[1].map((time) => k.viewAt(a[0], time))", [whole, times])
    ours = track_at(track, times)
    assert np.allclose([[shown[key] for key in keys] for shown in drawn], ours, atol=1e-12)


def test_the_headphones_turn_is_the_librarys() -> None:
    turned = node("a.map((view) => e.turnMatrix(view, 3))", [plain(view) for view in VIEWS])
    for view, matrix in zip(VIEWS, turned, strict=True):
        wanted = turn_matrices(rotation(view.yaw_deg, view.pitch_deg, view.roll_deg, dtype=torch.float64), 3)
        assert torch.allclose(torch.tensor(matrix, dtype=torch.float64), wanted, atol=1e-12), view


def test_the_browsers_ears_are_the_librarys() -> None:
    ours, theirs = (safetensors.torch.load_file(path) for path in (EARS_FILE, PACK / "web" / EARS_FILE.name))
    assert set(theirs) == {name for name in ours if name.endswith(".48000")}
    assert all(torch.equal(taps, ours[name]) for name, taps in theirs.items())


def test_a_field_is_read_as_it_was_written(tmp_path: Path) -> None:
    field = torch.randn(9, 100, generator=torch.Generator().manual_seed(0)).numpy()
    with wav_stream(tmp_path / "field.wav", 9, 44100) as wav:
        wav.add(field)
    read = node("f.readWav(new Uint8Array(a).buffer)", list((tmp_path / "field.wav").read_bytes()))
    assert read["rate"] == 44100
    channels = [[row[str(i)] for i in range(100)] for row in read["channels"]]
    assert np.array_equal(np.array(channels, np.float32), field)


def test_a_line_over_the_seam_is_cut_and_ends_at_both_edges() -> None:
    lines = node("g.linesOnMap(g.fovOutline({ yaw: 180, pitch: 0, fov: 90 }), true)", None)
    assert len(lines) == 3
    for line in lines:
        assert max(abs(b[0] - a[0]) for a, b in zip(line, line[1:], strict=False)) < 0.1
    assert lines[0][-1][0] >= 1 and lines[1][0][0] <= 0
    (whole,) = node("g.linesOnMap(g.fovOutline({ yaw: 0, pitch: 0, fov: 90 }), true)", None)
    assert (min(u for u, _ in whole), max(u for u, _ in whole)) == (pytest.approx(0.375), pytest.approx(0.625))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_read_no_html_and_fetch_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", ".prototype"):
        assert name not in text, name
    assert not re.search(r"https?://", text)
    for target in re.findall(r'from "([^"]+)"', text):
        assert target in ("../../scripts/app.js", "../../scripts/api.js") or (path.parent / target).is_file(), target


def in_page(folder: Path, script: str, argument: Any = None) -> Any:
    """Run a script that imports from `WEB/`, with an argument as `a`; return what it prints as JSON.

    The frontend's own scripts have empty stand-ins.
    """
    binary = shutil.which("node")
    if binary is None:
        pytest.skip("no node on the PATH: the widgets' scripts were NOT tested without a browser")
    served = folder / "extensions" / "pack"
    shutil.copytree(PACK / "web", served, ignore=shutil.ignore_patterns("docs"))
    (folder / "scripts").mkdir()
    for name in ("app", "api"):
        (folder / "scripts" / f"{name}.js").write_text(f"export const {name} = {{}};\n", encoding="utf-8")
    code = script.replace("WEB/", f"{served.as_uri()}/")
    command = [binary, "--input-type=module", "--no-warnings", "-e", code, json.dumps(argument)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# A clip's video, as far as the transport needs one; `frame` shows a frame, as a browser does when it is decoded.
LATE = """import { Transport } from "WEB/transport.js";
class Parts extends EventTarget {
  append(...parts) { this.firstChild ??= parts[0]; }
  setAttribute() {}
}
globalThis.document = { createElement: () => new Parts() };
class Video extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { paused: true, readyState: 2, currentTime: 0, duration: 1 });
  }
}
class Framed extends Video {
  requestVideoFrameCallback(then) { this.frame = then; }
}
const [plain, framed] = [new Video(), new Framed()];
const drawn = new Map([[plain, 0], [framed, 0]]);
const seen = [];
for (const video of drawn.keys()) new Transport(video, [], () => drawn.set(video, drawn.get(video) + 1));
for (const video of drawn.keys()) video.dispatchEvent(new Event("loadeddata"));
seen.push(...drawn.values());
framed.frame();
framed.frame();
seen.push(drawn.get(framed));
framed.paused = false;
framed.frame();
seen.push(drawn.get(framed));
console.log(JSON.stringify(seen));
"""


def test_a_frame_that_is_decoded_late_is_drawn(tmp_path: Path) -> None:
    """Under load a browser shows a frame after the event that tells of it: what was drawn then is blank."""
    seen = in_page(tmp_path, LATE)
    # Without the callback the event alone draws; with it each late frame too; while playing, every redraw does anyway.
    assert seen == [1, 1, 3, 3]


# ---- languages


def texts(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, str):
        return {prefix: value}
    return {key: text for name, item in value.items() for key, text in texts(item, f"{prefix}/{name}").items()}


def english(host: Host) -> dict[str, Any]:
    """Collect the texts of the nodes that `nodeDefs.json` has to translate."""
    found = {}
    for name, entry in host.object_info().items():
        if entry["python_module"] != "pack" or entry["deprecated"]:
            continue
        inputs = {}
        for kind in ("required", "optional"):
            for item, (_, options) in entry["input"].get(kind, {}).items():
                inputs[item] = {"name": item} | ({"tooltip": options["tooltip"]} if "tooltip" in options else {})
        outputs = {}
        for i, (label, tooltip) in enumerate(zip(entry["output_name"], entry["output_tooltips"], strict=True)):
            outputs[str(i)] = {"name": label} | ({"tooltip": tooltip} if tooltip else {})
        found[name] = {"display_name": entry["display_name"], "description": entry["description"], "inputs": inputs}
        found[name] |= {"outputs": outputs} if outputs else {}
    return found


def test_there_are_languages() -> None:
    assert {"en", "zh"} <= {path.name for path in LOCALES}


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.name)
def test_every_text_of_the_nodes_is_translated_and_none_is_left_over(host: Host, path: Path) -> None:
    wanted = texts(english(host))
    if path.name == "en":
        # The English texts are in the nodes themselves.
        assert not (path / "nodeDefs.json").exists()
        return
    found = texts(json.loads((path / "nodeDefs.json").read_text(encoding="utf-8")))
    assert set(wanted) - set(found) == set(), "texts to translate"
    assert set(found) - set(wanted) == set(), "texts that no node has any more"
    tooltips = [key for key in wanted if key.endswith(("/tooltip", "/description"))]
    assert [key for key in tooltips if found[key] == wanted[key]] == []


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.name)
def test_every_word_of_the_widgets_is_there_in_every_language(path: Path) -> None:
    found = json.loads((path / "main.json").read_text(encoding="utf-8"))["con360"]
    script = "\n".join(text.read_text(encoding="utf-8") for text in SCRIPTS)
    # Keys that scripts build from values: the three sounds.
    used = set(re.findall(r'"(\w+)"', script)) & set(found)
    assert set(re.findall(r'\bt\("(\w+)"', script)) <= set(found)
    assert used == set(found), "words that no script asks for"
    fields = {key: sorted(re.findall(r"\{(\w+)\}", text)) for key, text in found.items()}
    reference = json.loads((PACK / "locales" / "en" / "main.json").read_text(encoding="utf-8"))["con360"]
    assert fields == {key: sorted(re.findall(r"\{(\w+)\}", text)) for key, text in reference.items()}


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.name)
def test_no_text_has_signs_that_the_frontends_translator_reads_as_syntax(path: Path) -> None:
    for file in path.glob("*.json"):
        for key, text in texts(json.loads(file.read_text(encoding="utf-8"))).items():
            assert not re.search(r"[@|]", text), (file.name, key)
            if file.name == "nodeDefs.json":
                assert not re.search(r"[{}]", text), (file.name, key)
