"""Test the structure: rooms import lower rooms only, files and functions are short, docstrings open with verbs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared_data import ROOT

# From the lowest up. A room imports only from rooms before it; rooms of one text do not import each other.
FLOORS = (
    "errors", "choices", "records timing pace moments", "memory devices residency protocols", "geometry", "sound",
    "media",
    "saliency viewpoint sampling", "models scenes", "weights", "caption control", "drawing metrics",
    "meaning", "pipeline reframing", "placing checking", "anew sounding", "door", "cli",
)  # fmt: skip
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}
CLIENTS = ("nodes", "train")
# Shipped code never imports these; the table in CONTRIBUTING lists them all the same.
WORKSHOPS = ("tools", "tests", "benchmarks")
OPENINGS = {"What", "That", "Where", "How", "Which", "Whether"}


def modules(*folders: str) -> dict[str, Path]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


HOUSE = modules("con360", *CLIENTS)


def imports(name: str) -> Iterator[str]:
    """Yield the project modules that a module imports, lazy imports included."""
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


def test_no_room_imports_a_higher_one() -> None:
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


def test_shipped_code_imports_no_tools_tests_or_benchmarks() -> None:
    ours = {*WORKSHOPS, *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    assert {name: found for name in HOUSE if (found := ours & set(foreign(HOUSE[name])))} == {}


def foreign(path: Path) -> Iterator[str]:
    """Yield the packages of a file's absolute imports, lazy ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]


def test_every_room_has_a_floor() -> None:
    rooms = {room(name) for name in HOUSE if name.startswith("con360.")} - {"__main__"}
    assert rooms == set(FLOOR)


def mapped() -> list[str]:
    """Return the rooms of the table in CONTRIBUTING, from the first row to the last."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| [^|]+ \| ([^|]+) \|$", text.split("## Where a line goes")[1].split("\n## ")[0], re.MULTILINE
    )
    return [name for row in rows for name in re.findall(r"`([\w./]+)`", row)]


def test_the_table_names_every_room_and_no_other() -> None:
    names = mapped()
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert len(names) == len(set(names)), "a room stands in two rows"
    rooms = {f"con360/{name}" if (ROOT / "con360" / name).is_dir() else f"con360/{name}.py" for name in FLOOR}
    assert rooms <= {name.rstrip("/") for name in names}
    assert {f"{name}/" for name in (*CLIENTS, *WORKSHOPS, "web", "locales")} <= set(names)


def test_the_table_lists_rooms_from_the_lowest_up() -> None:
    floors = [
        FLOOR[room] for name in mapped() if (room := name[len("con360/") :].rstrip("/").removesuffix(".py")) in FLOOR
    ]
    assert len(floors) == len(FLOOR) and floors == sorted(floors)


@pytest.mark.parametrize("name", sorted(modules("con360")))
def test_files_and_functions_are_short(name: str) -> None:
    text = HOUSE[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 450
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 >= 60] == []


def test_no_docstring_opens_with_what_that_or_where() -> None:
    found = []
    for name, path in modules("con360", "nodes", "train", "tools", "tests", "benchmarks").items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                words = (ast.get_docstring(node) or "").split()
                if words and words[0] in OPENINGS:
                    found.append(f"{name}: {' '.join(words[:6])}")
    assert found == []
