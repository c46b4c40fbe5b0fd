"""Test that commits, clones and the public CI are checked by the same tools."""

from __future__ import annotations

import re
from typing import Any

import yaml
from shared_data import ROOT
from test_documents import project, pyproject

TOOLS = ["ruff format --check .", "ruff check .", "mypy", "oxlint web con360/placing/page_files/page.js"]
RUN_ALL = "pre-commit run --all-files"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def workflow() -> dict[str, Any]:
    return yaml.safe_load(text(".github/workflows/tests.yml"))["jobs"]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_the_hooks_are_the_tools_and_fetch_nothing() -> None:
    (local,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == [*TOOLS, "python -m tools.node_types"]
    # Each hook checks the whole tree with the installed tools.
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])


def test_the_ci_calls_the_tools_only_through_the_hooks() -> None:
    lines = [line.strip() for line in text(".ci/run").splitlines()]
    assert RUN_ALL in lines
    assert not [line for line in lines if line.split(" ")[0] in {tool.split(" ")[0] for tool in TOOLS}]
    assert {"run": RUN_ALL} in workflow()["hooks"]["steps"]


def test_the_developers_extra_brings_the_tools() -> None:
    needed = {tool.split(" ")[0] for tool in [*TOOLS, RUN_ALL]}
    assert needed <= names(project()["optional-dependencies"]["dev"])
    assert 'python -m pip install --quiet -e ".[dev]"' in text(".ci/run").splitlines()


def test_the_public_ci_tries_oldest_and_newest_packages_on_each_system() -> None:
    matrix = workflow()["tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    pairs = {(row["python"], row["resolution"]) for row in matrix["include"]}
    assert pairs == {("3.10", "lowest-direct"), ("3.13", "highest")}
    assert {python for python, _ in pairs} == set(matrix["python"])
    assert project()["requires-python"] == ">=3.10"


def test_mypy_checks_every_file() -> None:
    settings = pyproject()["tool"]["mypy"]
    assert [override for override in settings["overrides"] if override.get("ignore_errors")] == []
    assert not settings.get("ignore_errors") and not settings.get("exclude")
    assert set(settings["files"]) >= {"con360", "train"}


def test_readmes_plain_pytest_needs_no_server_and_no_browser() -> None:
    """Every file that starts one is marked slow as a whole."""
    files = [path for folder in ("browser", "comfyui") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    unmarked = [path.name for path in files if not re.search(r"^pytestmark = .*mark\.slow", path.read_text(), re.M)]
    assert files and unmarked == []
