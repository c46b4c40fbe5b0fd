"""The house: rooms import downwards, without circles; functions and files stay short; docstrings begin with a verb."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared_data import ROOT

# From the floor up. A room imports from rooms before it alone; those of one line do not import each other.
FLOORS = (
    "errors", "choices", "records timing", "memory devices residency protocols", "geometry", "sound", "media",
    "saliency viewpoint sampling", "models scenes", "weights", "caption control", "drawing metrics",
    "pipeline reframing", "door", "cli",
)  # fmt: skip
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}
CLIENTS = ("nodes", "train")
OPENINGS = {"What", "That", "Where", "How", "Which", "Whether"}


def modules(*folders: str) -> dict[str, Path]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


HOUSE = modules("con360", *CLIENTS)


def imports(name: str) -> Iterator[str]:
    """Modules of the house that a module imports, lazily too."""
    path = HOUSE[name]
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in HOUSE)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            for alias in node.names:
                full = f"{module}.{alias.name}" if module else alias.name
                found = full if full in HOUSE else module
                if found in HOUSE and found != name:
                    yield found


def room(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph = {name: sorted(set(imports(name))) for name in HOUSE}
    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                follow(other, (*way, name))
            done.add(name)

    for name in graph:
        follow(name, ())


def test_no_arrow_runs_up() -> None:
    up = []
    for name in HOUSE:
        for other in imports(name):
            here, there = name.split(".")[0], other.split(".")[0]
            if here == "con360" and there != "con360":
                up.append(f"{name} -> {other}: the library knows no client")
            elif here != there and there != "con360":
                up.append(f"{name} -> {other}: clients do not import each other")
            elif here == "con360" and room(name) and room(other) and room(name) != room(other):
                if room(name) not in ("__main__",) and FLOOR[room(other)] >= FLOOR[room(name)]:
                    up.append(f"{name} -> {other}")
    assert up == []


def test_every_room_has_a_floor() -> None:
    rooms = {room(name) for name in HOUSE if name.startswith("con360.")} - {"__main__"}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("name", sorted(modules("con360")))
def test_files_and_functions_are_short(name: str) -> None:
    text = HOUSE[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 450
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 >= 60] == []


def test_docstrings_begin_with_what_is_done() -> None:
    found = []
    for name, path in modules("con360", "nodes", "train", "tools", "tests", "benchmarks").items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                words = (ast.get_docstring(node) or "").split()
                if words and words[0] in OPENINGS:
                    found.append(f"{name}: {' '.join(words[:6])}")
    assert found == []
