"""`python -m tools.host`, where a real ComfyUI is looked for, and the closing line of a test run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from comfyui import server
from tiny_workflow import tiny_workflow, write_model_files

from tools.host.__main__ import main
from tools.host.report import closing_line
from tools.host.run import PACK

pytestmark = pytest.mark.standin


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(tiny_workflow()))
    return path


def test_runs_a_workflow_and_says_where_the_files_are(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    write_model_files(out / "models")
    assert main([str(workflow), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "7 JointAVSampler" in said.out
    assert f"done: files are in {out / 'output'}" in said.out
    assert "JointAVSampler: 2/2" in said.err
    assert (out / "output" / "test_00001_.mp4").is_file()


def test_a_refused_workflow_says_why(workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(workflow), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "5 Con360ModelLoader: model - the model 'random' is not available" in said
    assert "refused" in said


def test_a_widget_is_set_by_node_and_name(workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [str(workflow), "--out", str(tmp_path / "out"), "--set"]
    assert main([*arguments, "5.model=another one"]) == 1
    assert "the model 'another one' is not available" in capsys.readouterr().out
    assert main([*arguments, "5.modal=x"]) == 2
    assert "'5.modal=x' names no input" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "no json", '{"1": {"class_type": "KSampler", "inputs": {}}}'])
def test_a_file_that_is_no_workflow_ends_with_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str | None
) -> None:
    path = tmp_path / "w.json"
    if text is not None:
        path.write_text(text)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"{path}: ")


def test_starts_as_a_module_from_the_root() -> None:
    command = [sys.executable, "-m", "tools.host", "--help"]
    said = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True).stdout
    assert "stand-in for ComfyUI" in said


def test_comfyui_is_found_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert server.find_comfyui() is None
    assert "NOT tested" in server.describe_installation()
    (tmp_path / "main.py").touch()
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.9.1"\n')
    assert server.find_comfyui() == tmp_path
    assert server.describe_installation() == f"ComfyUI 0.9.1 found at {tmp_path}"
    monkeypatch.setenv("COMFYUI_PYTHON", "/some/python")
    assert server.python_of(tmp_path) == "/some/python"


def test_the_closing_line_counts_what_ran_and_what_did_not() -> None:
    counts = Counter({"standin passed": 5, "standin failed": 1, "comfyui deselected": 4})
    assert closing_line(counts, "none found") == (
        "hosts: the stand-in (tools/host) ran 6 tests; a real ComfyUI ran 0 tests, 4 deselected (none found)."
    )
