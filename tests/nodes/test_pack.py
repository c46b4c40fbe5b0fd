"""The pack as ComfyUI meets it: loading, names, the recorded contract, and what it must not do at import."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tools.host import Host, contract, graph
from tools.host.run import PACK

pytestmark = pytest.mark.standin

NAMES = {
    "Load360Video": "Load 360° Video",
    "SalViT360Saliency": "SalViT360 Saliency",
    "CentroidToBASD": "Centroid→BASD",
    "CubemapCaption": "Cubemap Caption",
    "Con360ModelLoader": "Con360 Model Loader",
    "Con360ControlLoader": "Con360 Control Loader",
    "JointAVSampler": "Joint AV Sampler",
    "Con360ViewpointCrop": "Viewpoint Crop",
    "Con360ViewpointByHand": "Viewpoint by Hand",
    "Con360OverlayPreview": "Overlay Preview",
    "Con360Compare": "Con360 Compare",
    "Reframe360Video": "Reframe 360° Video",
    "Save360Video": "Save 360° Video",
    "Con360SaliencyKL": "S_KL",
    "Con360Centroids": "Centroids",
    "Con360PlaceSound": "Place Sound on Sphere",
    "Con360MixAmbisonics": "Mix Ambisonics",
    "Con360RotateAmbisonics": "Rotate Ambisonics",
    "Con360AmbisonicsToHeadphones": "Ambisonics→Headphones",
    "Con360AmbisonicsPreview": "Ambisonics Preview",
    "Con360ViewsAround": "Views Around",
    "Con360SoundsToField": "Sounds to Field",
    "Con360SampleSound": "Sample Sound",
    "Con360OmniAudioLoader": "OmniAudio Loader",
    "Con360VideoToAmbisonics": "360° Video→Ambisonics",
    "Con360Level360Video": "Level 360° Video",
    "Con360Project": "Project onto 360°",
    "Con360SoundField": "Sound Field",
    "Con360RedoSpan": "Redo Span",
    "Con360CheckClip": "Check 360° Clip",
    "Con360TimeTrack": "Time Track",
    "Con360TimeTrackPreview": "Time Track Preview",
    "Con360MeaningGuide": "Guide by Meaning",
    "Con360BestOf": "Best of Seeds",
    "Con360MeaningLoader": "Meaning Loader",
    "Con360Meaning": "Meaning",
}
FORMER = {
    "ViewpointCrop": "Viewpoint Crop",
    "ViewpointByHand": "Viewpoint by Hand",
    "OverlayPreview": "Overlay Preview",
}
DOCS = PACK / "web" / "docs"
LANGUAGES = sorted(path.name for path in (PACK / "locales").iterdir() if path.is_dir())
PICTURE, CODE = re.compile(r"!\[[^]]*\]\(([^)]+)\)"), re.compile(r"`[^`\n]+`")
NODE_FILES = [PACK / "__init__.py", *sorted((PACK / "nodes").glob("*.py"))]


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """List imports as (dots, module, imported with the file or later); leave out type-checking blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []

    def walk(body: list[ast.stmt], at_import: bool) -> None:
        for node in body:
            if isinstance(node, ast.Import):
                found.extend((0, alias.name, at_import) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.append((node.level, node.module or "", at_import))
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            else:
                inner = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                for name in ("body", "orelse", "finalbody"):
                    walk(getattr(node, name, []), inner)

    walk(tree.body, True)
    return found


def test_every_node_is_there_under_its_name(host: Host) -> None:
    info = host.object_info()
    ours = {name: entry["display_name"] for name, entry in info.items() if entry["python_module"] == "pack"}
    assert ours == NAMES | FORMER
    assert {name for name in ours if info[name]["deprecated"]} == set(FORMER)
    assert {info[name]["category"] for name in ours} == {"Con360-AV"}


SEARCHED = {
    "ambisonic": "Con360MixAmbisonics", "foa": "Load360Video", "panorama": "Load360Video",
    "equirectangular": "Reframe360Video", "spatial audio": "Con360PlaceSound", "vr": "Save360Video",
    "horizon": "Con360Level360Video", "360": "Con360AmbisonicsToHeadphones",
    "Load360Video": "Load360Video", "binaural": "Con360AmbisonicsToHeadphones",
    "video to sound": "Con360VideoToAmbisonics", "retake": "Con360RedoSpan", "onsets": "Con360TimeTrack",
    "GRAM": "Con360MeaningGuide", "best of N": "Con360BestOf",
}  # fmt: skip


@pytest.fixture
def newer(pack: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the nodes' definitions as newer cores get them, by node."""
    io = pack("nodes").io

    class NewerSchema(io.Schema):
        def __init__(self, *, search_aliases: list[str], has_intermediate_output: bool = False, **known: Any) -> None:
            super().__init__(**known)
            self.search_aliases, self.has_intermediate_output = search_aliases, has_intermediate_output

    monkeypatch.setattr(io, "Schema", NewerSchema)
    return {schema.node_id: schema for schema in (node.define_schema() for node in pack("nodes").NODES)}


def test_newer_cores_are_told_the_words_that_people_search(newer: dict[str, Any]) -> None:
    found = {name: schema.search_aliases for name, schema in newer.items()}
    assert set(found) == set(NAMES) and all(name in words for name, words in found.items())
    assert all(len(set(words)) == len(words) for words in found.values())
    assert [word for word, name in SEARCHED.items() if word not in found[name]] == []


def test_newer_cores_send_again_what_a_cached_node_showed(newer: dict[str, Any]) -> None:
    """Output nodes are sent again by every core; the others that show something ask for it."""
    assert {name for name, schema in newer.items() if schema.has_intermediate_output} == {
        "Load360Video", "CentroidToBASD", "Con360ViewpointByHand", "Reframe360Video", "Con360PlaceSound",
        "Con360Level360Video"}  # fmt: skip


def test_every_node_and_input_explains_itself(host: Host) -> None:
    for name in NAMES:
        entry = host.object_info()[name]
        assert entry["description"]
        for kind in ("required", "optional"):
            for item, spec in entry["input"].get(kind, {}).items():
                assert spec[1].get("tooltip") or spec[0] in ("CON360_MODEL",), f"{name}.{item} has no tooltip"


def help_page(name: str, language: str) -> str:
    """Frontends ask for `docs/NODE/LOCALE.md`, then for `docs/NODE.md`, the English page and fallback."""
    return (DOCS / (f"{name}.md" if language == "en" else f"{name}/{language}.md")).read_text(encoding="utf-8")


def names_shown(host: Host, name: str, language: str) -> dict[str, Any]:
    """A node's own name, and those of its inputs and outputs, as the frontend shows them."""
    entry = host.object_info()[name]
    inputs, outputs = [item for _, item, _, _ in graph.inputs_of(entry)], entry["output_name"]
    if language == "en":
        return {"display_name": NAMES[name], "inputs": {i: i for i in inputs}, "outputs": {o: o for o in outputs}}
    told = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[name]
    return {
        "display_name": told["display_name"],
        "inputs": {item: told["inputs"][item]["name"] for item in inputs},
        "outputs": {item: told["outputs"][str(i)]["name"] for i, item in enumerate(outputs)},
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_help_page_names_every_input_and_output(host: Host, language: str) -> None:
    for name in NAMES:
        shown, english = names_shown(host, name, language), help_page(name, "en").split("\n## ")
        _, *parts = help_page(name, language).split("\n## ")
        (at,) = [i for i, part in enumerate(english[1:]) if part.startswith("Outputs\n")] or [len(parts)]
        for kind, text in (("outputs", "".join(parts[at : at + 1])), ("inputs", "".join(parts[:at] + parts[at + 1 :]))):
            for item, label in shown[kind].items():
                wanted = f"**{label}**" if label == item else f"**{label}**（`{item}`）"
                assert wanted in text, f"{name}, {language}: {kind} without {wanted}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_help_page_shows_its_node(host: Host, language: str) -> None:
    for name in NAMES:
        text, title = help_page(name, language), names_shown(host, name, language)["display_name"]
        assert text.startswith(f"# {title}\n\n![{title}](images/{name}.jpg)\n"), (name, language)
        # Frontends put `docs/` before the links of every page, even of a page in a subfolder.
        assert [link for link in PICTURE.findall(text) if not (DOCS / link).is_file()] == [], (name, language)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_translated_help_pages_say_what_the_english_ones_say(language: str) -> None:
    same = {
        "headings": r"(?m)^#+ ", "items": r"(?m)^(?:-|\d+\.) ", "pictures": PICTURE, "links": r"\]\((http[^)]+)\)",
        "figures": r"\d+(?:\.\d+)?",
    }  # fmt: skip
    for name in NAMES:
        english, own = help_page(name, "en"), help_page(name, language)
        for what, pattern in same.items():
            assert Counter(re.findall(pattern, english)) == Counter(re.findall(pattern, own)), (name, what)
        # Values, files and keys; a translation also has the ids of inputs and outputs.
        assert set(CODE.findall(english)) - set(CODE.findall(own)) == set(), name


def test_help_pages_and_pictures_are_complete_and_none_is_left_over() -> None:
    pages = {DOCS / (f"{name}.md" if each == "en" else f"{name}/{each}.md") for name in NAMES for each in LANGUAGES}
    assert set(DOCS.rglob("*.md")) == pages
    pictures = {path.stem: path for path in (DOCS / "images").iterdir()}
    assert set(pictures) == set(NAMES)
    for path in pictures.values():
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and min(picture.size) > 80 and path.stat().st_size < 60_000, path


def test_the_registry_entry_is_complete() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML: the registry entry was NOT checked")
    told = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = told["project"], told["tool"]["comfy"]
    assert "comfyui" not in project["name"].lower() and re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["urls"]["Repository"].startswith("https://github.com/") and (PACK / "LICENSE").is_file()
    # WEB_DIRECTORY alone: with `web` here too, each script is loaded twice.
    assert set(comfy) == {"PublisherId", "DisplayName", "Icon", "requires-comfyui"}
    assert comfy["requires-comfyui"] == ">=0.3.64" and contract.recorded().stem.endswith("0.3.64")
    assert [one for one in project["classifiers"] if one.startswith("Operating System :: ")]
    # What `comfy node validate` looks for, ruff finds with the rules of this project.
    lint = told["tool"]["ruff"]["lint"]
    spared = {*lint["ignore"], *(rule for rules in lint["per-file-ignores"].values() for rule in rules)}
    assert {"E", "S"} <= set(lint["select"]) and not spared & {"S102", "S307", "E702"}
    with Image.open(PACK / comfy["Icon"].partition("/main/")[2]) as icon:
        assert icon.width == icon.height <= 400


def test_registers_through_the_entrypoint_alone(host: Host) -> None:
    assert not hasattr(host.module, "NODE_CLASS_MAPPINGS")
    assert host.module.WEB_DIRECTORY == "./web"


def test_object_info_equals_the_recorded_one_of_the_real_server(host: Host) -> None:
    recorded = json.loads(contract.recorded().read_text(encoding="utf-8"))
    assert contract.normalise(host.object_info(), [*NAMES, *FORMER]) == recorded


def test_the_library_is_imported_relatively() -> None:
    # Inside the pack, `import con360` would make a second copy of every class.
    for path in [*NODE_FILES, *(PACK / "con360").rglob("*.py")]:
        absolute = [module for level, module, _ in imports(path) if not level and module.split(".")[0] == "con360"]
        assert not absolute, f"{path} imports {absolute}"


@pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: path.name)
def test_heavy_modules_are_imported_late(path: Path) -> None:
    # Torch at import would slow every start of ComfyUI.
    light = {"comfy_api", "comfy", "folder_paths"} | set(sys.stdlib_module_names)
    for level, module, at_import in imports(path):
        top = module.split(".")[0]
        if at_import and not level:
            assert top in light, f"{path.name} imports {module} at import"


def test_importing_the_root_outside_comfyui_does_nothing(tmp_path: Path) -> None:
    # pytest imports it as a package where the checkout's name allows it, even with a stand-in's module present.
    copy = tmp_path / "con360av"
    (copy / "nodes").mkdir(parents=True)
    shutil.copy(PACK / "__init__.py", copy)
    (copy / "nodes" / "__init__.py").write_text("raise SystemExit('the nodes were imported')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import con360av; print(hasattr(con360av, 'comfy_entrypoint'))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    code = "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['folder_paths'] = sys; import __init__ as root"
    subprocess.run([sys.executable, "-c", code, str(copy)], check=True)


def test_requirements_are_what_comfyui_lacks_and_what_is_imported() -> None:
    # ComfyUI's own requirements (0.3.64), which a pack must not list: listing them can move them.
    comfyui = {
        "torch", "torchvision", "numpy", "einops", "transformers", "tokenizers", "safetensors", "aiohttp", "yaml",
        "PIL", "scipy", "tqdm", "psutil", "av",
    }  # fmt: skip
    lines = (PACK / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {re.split(r"[<>=~!]", line)[0] for line in lines if line and not line.startswith("#")}
    modules = {name.replace("opencv-python-headless", "cv2") for name in listed}
    files = [*(PACK / "con360").rglob("*.py"), *NODE_FILES]
    used = {module.split(".")[0] for path in files for level, module, _ in imports(path) if not level}
    outside = used - set(sys.stdlib_module_names) - {"comfy", "comfy_api", "folder_paths"}
    # Who has a SOFA file of their own ears installs what reads it (the extra `sofa`). Without torchaudio, which newest
    # ComfyUI lacks, `con360.sound.resampling` goes on.
    assert outside - comfyui - {"h5py", "torchaudio"} == modules
    assert not any("==" in line for line in lines)
