"""A missing package stops the nodes that need it and no others; the error says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shipped_runs import write_sample
from tiny_workflow import tiny_workflow, write_model_files

from tools.host import Host
from tools.host.run import PACK

pytestmark = pytest.mark.standin

# Module, what pip is to install, the node that needs it first.
CASES = [
    ("diffusers", f"-r {PACK / 'requirements.txt'}", "5"),
    ("cv2", f"-r {PACK / 'requirements.txt'}", "1"),
    # PyAV 17.1 and later free memory twice.
    ("av", '--upgrade "av>=14.2,<17.1"', "1"),
]


def without(monkeypatch: pytest.MonkeyPatch, name: str, base: Path) -> Host:
    """Import the pack where one module cannot be imported."""
    for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, name, None)
    return Host(base)


def prompt_of(host: Host, own_file: bool) -> dict[str, Any]:
    prompt = tiny_workflow()
    if own_file:
        prompt["1"]["inputs"]["video"] = "own.mp4"
    return prompt


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("comfy")
    write_model_files(base / "models")
    write_sample(base / "input" / "own.mp4")
    return base


@pytest.mark.parametrize(("module", "command", "node"), CASES, ids=[case[0] for case in CASES])
def test_the_affected_node_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, base: Path, module: str, command: str, node: str
) -> None:
    host = without(monkeypatch, module, base)
    assert len([name for name, entry in host.object_info().items() if entry["python_module"] == "pack"]) == 39
    done = host.run(prompt_of(host, own_file=module == "av"))
    assert (done.status, done.failed_node) == ("error", node), done.error
    assert str(done.error).startswith(f"this node needs the Python package {'opencv' if module == 'cv2' else module}")
    assert str(done.error).endswith(f"{sys.executable} -m pip install {command}")


def test_other_nodes_go_on(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    host = without(monkeypatch, "diffusers", base)
    prompt = {key: node for key, node in tiny_workflow().items() if key in "123"}
    prompt["4"] = {"class_type": "MaskToImage", "inputs": {"mask": ["3", 1]}}
    prompt["5"] = {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}}
    assert host.run(prompt).status == "done"


@pytest.mark.parametrize("given", [{"denoise": 0.5}, {"hold": "sound"}], ids=["started", "held"])
def test_no_node_needs_torchaudio(monkeypatch: pytest.MonkeyPatch, base: Path, given: dict[str, Any]) -> None:
    """Newest ComfyUI brings none: load a file, start from a sound of another rate or hold it, generate, save."""
    host = without(monkeypatch, "torchaudio", base)
    prompt = prompt_of(host, own_file=True)
    prompt["11"] = {"class_type": "Con360SampleSound", "inputs": {"voice": "hum", "duration": 0.5}}
    prompt["7"]["inputs"] |= {"start_audio": ["11", 0], **given}
    done = host.run(prompt)
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    assert [done.outputs[node][place]["sample_rate"] for node, place in (("11", 0), ("7", 1))] == [48000, 16000]


def test_every_node_names_what_it_lacks(host: Host) -> None:
    assert [cls.__name__ for cls in host.pack_classes if not hasattr(cls.execute, "__wrapped__")] == []


def test_a_defect_of_our_own_is_no_missing_package(pack: Any) -> None:
    side = pack("nodes.host.runtime")

    @side.needs_packages
    def execute() -> None:
        raise ImportError("no such name", name=f"{side.__name__.rpartition('.')[0]}.gone")

    with pytest.raises(ImportError, match="no such name"):
        execute()


def test_the_start_imports_nothing_but_the_pack_and_the_standard_library(tmp_path: Path) -> None:
    """ComfyUI has torch, numpy and PyAV loaded by then; the pack must load nothing more."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import torch, asyncio\n"
        "from tools import host; import tools.host.run\n"
        "before = set(sys.modules); standin = host.Host(Path(sys.argv[2])); standin.object_info()\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-c", code, str(PACK), str(tmp_path)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert loaded - set(sys.stdlib_module_names) == {str(PACK).replace(".", "_x_").partition(".")[0]}
