"""README and the pages of `docs/`: length, links, and commands that work.

`<!-- needs: weights -->` before a fence names what test machines lack. Its commands are parsed, not run.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch
from shared_data import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + PAGES
# Commands of these pages are not tried: they are records of past runs, or help for the frontend.
OTHER_PAGES = [ROOT / "train/LOG.md", ROOT / "benchmarks/framing_marks.md", *sorted((ROOT / "web/docs").glob("*.md"))]
NEEDS = {"comfyui", "data", "gpu", "time", "weights"}
# Arguments appended to a command to make it short.
SHORT = {
    "demo": ["--steps", "1"],
    "ambisonics": ["--duration", "1", "--steps", "2"],
    "generate": ["--duration", "0.5", "--steps", "2"],
    "reframe": ["--duration", "0.5"],
    "views": ["--duration", "0.5", "--size", "32x32"],
    "page": ["--size", "64x32", "--duration", "1"],
    "train.train": ["steps=1", "seconds=0.5", "pool=1", "held_out=1", "batch=1"],
    "train.prepare": ["--scenes", "1", "--seconds", "0.5", "--viewpoints", "1"],
}
# Programs whose options are not checked; `check_words` looks for project files that they name.
OTHERS = {".", "comfy", "git", "mkdir", "pip", "pre-commit", "pytest", "python", "tar", ".ci/run"}


@dataclass(frozen=True)
class Fence:
    """A fenced block: its page, first line, language, content, and what it needs beyond a clone."""

    page: Path
    line: int
    language: str
    text: str
    needs: frozenset[str]

    @property
    def is_shell(self) -> bool:
        return self.language in ("", "sh", "bash")

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> Iterator[Fence]:
    """Yield the fenced blocks of a page, in order."""
    pattern = r"(?:^<!-- needs: (?P<needs>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start("language")) + 1
        needs = frozenset(re.findall(r"\w+", found["needs"] or ""))
        yield Fence(page, line, found["language"], found["text"], needs)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block that runs in the clone.

    A loop gives its body alone. Commands after a `cd` into another program's folder are left out.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in (";", "&&"):
                words.append(word)
                continue
            if words[:1] == ["cd"] and words[1] != "Con360-AV":
                return
            if words and words[0] not in ("for", "done", "cd"):
                yield words[words[0] == "do" :]
            words = []


FENCES = [fence for page in DOCUMENTS for fence in fences(page)]
SHELL = [fence for fence in FENCES if fence.is_shell]


class Parsed(BaseException):
    """End a program once its arguments are parsed."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch):
    """Return `parse_only(module, arguments)`, which runs a module's `main` until its arguments are parsed."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        real(self, args, namespace)
        raise Parsed

    def parse(module: str, arguments: list[str]) -> None:
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(Parsed):
            import_module(module).main()

    return parse


def module_of(words: list[str]) -> tuple[str, list[str]]:
    """(module, arguments) of `python -m MODULE ...` or `python FOLDER/SCRIPT.py ...`."""
    if words[1] == "-m":
        name, arguments = words[2], words[3:]
    else:
        name, arguments = words[1].removesuffix(".py").replace("/", "."), words[2:]
    if (ROOT / name.replace(".", "/") / "__main__.py").is_file():
        name += ".__main__"
    assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), f"{' '.join(words)}: there is no module {name}"
    return name, arguments


def check_words(words: list[str], parse_only) -> None:
    """Parse a command with its own parser; for another program, look for the project files that it names."""
    if words[:2] == ["accelerate", "launch"]:
        words = ["python", *words[2:]]
    if words[0] == "con360":
        from con360.cli.parser import parse

        parse(words[1:])
    elif words[0] == "python" and words[1:3] != ["-m", "venv"]:
        check_module(*module_of(words), parse_only)
    else:
        assert words[0] in OTHERS, f"{' '.join(words)}: an unknown program"
        for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= set(project()["optional-dependencies"]), f"there is no extra {extra}"
        for name in re.findall(r"(?<=\s)(?:docs|workflows|tests)/\S+", " ".join(words)):
            assert (ROOT / name).exists(), f"there is no {name}"


def check_module(name: str, arguments: list[str], parse_only) -> None:
    if name == "train.train":
        from train.config import from_arguments

        from_arguments(arguments)
    elif name in ("train.omniaudio.run", "train.when.run"):
        from train.config import read_arguments

        read_arguments(arguments[1:], import_module(name).CONFIGS[arguments[0]])
    elif "parse_args" in (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"):
        parse_only(name, arguments)
    else:
        assert not [word for word in arguments if word.startswith("-")], f"{name} has no options"


def pyproject() -> dict:
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings tomli
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def project() -> dict:
    """`[project]` of pyproject.toml."""
    return pyproject()["project"]


# Commands and examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", SHELL, ids=str)
def test_options_of_every_command_exist(fence: Fence, parse_only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert fence.needs <= NEEDS
    for words in commands(fence.text):
        check_words(words, parse_only)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the documents name: a minute of two discs on grey, and keyframes.

    The concert's sound is a field, the clip's is mono.
    """
    from con360.media.spherical_tags import tag_file
    from con360.media.writer import write_clip, write_png, write_wav
    from con360.records import Sound
    from con360.sound.ambisonics import encode

    folder = tmp_path_factory.mktemp("footage")
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(128), indexing="ij")
    frames = torch.full((124, 3, 64, 128), 0.5)
    for column, colour in ((32, (1.0, 0.1, 0.1)), (96, (0.1, 0.9, 0.9))):
        disc = (rows - 32) ** 2 + (columns - column) ** 2 < 30
        frames[:, :, disc] = torch.tensor(colour)[:, None]
    waveform = 0.1 * torch.sin(torch.arange(62 * 16000) * 0.2)[None]
    write_clip(folder / "clip360.mp4", frames, 2.0, Sound(waveform, 16000, "mono"))
    write_clip(folder / "tilted360.mp4", frames[:2], 2.0)
    tag_file(folder / "tilted360.mp4", panorama="mono", pose_deg=(0.0, 8.0, 5.0))
    write_clip(folder / "concert360.mp4", frames, 2.0, Sound(encode(waveform[0], 60.0, 0.0), 16000, "ambix"))
    write_clip(folder / "stereo360.mp4", frames[:4].repeat(1, 1, 2, 1), 2.0, panorama="top-bottom")
    write_clip(folder / "vr180.mp4", frames[:4], 2.0)
    write_clip(folder / "youtube.mp4", frames[:4, :, :, :96], 2.0)
    for name in ("voice.wav", "drum.wav"):
        write_wav(folder / name, Sound(waveform[:, :32000], 16000))
    write_clip(folder / "view.mp4", frames[:4, :, :, :64], 2.0)
    write_png(folder / "photo.png", frames[0, :, :, :64])
    (folder / "keyframes.json").write_text(json.dumps([{"time": 0, "yaw": -30, "pitch": 0, "fov": 90}]))
    return folder


RUNNABLE = [fence for fence in SHELL if not fence.needs and fence.page.name != "CONTRIBUTING.md"]


@pytest.mark.slow
@pytest.mark.parametrize("fence", RUNNABLE, ids=str)
def test_commands_run(fence: Fence, footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `con360` and `python` command succeeds and writes the file that it names; `.ci/run` tries `pip`."""
    from con360.cli import main

    monkeypatch.chdir(footage)
    for words in commands(fence.text):
        if words[0] == "con360":
            assert main([*words[1:], *SHORT.get(words[1], [])]) == 0
        elif words[0] == "python":
            name, arguments = module_of(words)
            assert import_module(name).main([*arguments, *SHORT[name]]) == 0
        else:
            assert words[0] in ("pip", "pytest") and words[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        for option in {"-o", "--out", "--conditions"} & set(words):
            assert Path(words[words.index(option) + 1]).exists()


@pytest.mark.slow
# The blocks of extend.md follow one another; test_extend.py runs them in order.
@pytest.mark.parametrize("fence", [f for f in FENCES if f.language == "python" and f.page.stem != "extend"], ids=str)
def test_python_examples(fence: Fence, footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile(fence.text, str(fence), "exec")
    monkeypatch.chdir(footage)
    if not fence.needs:
        exec(code, {"__name__": "example"})  # noqa: S102


@pytest.mark.parametrize("fence", [f for f in FENCES if f.language == "json"], ids=str)
def test_json_examples(fence: Fence) -> None:
    json.loads(fence.text)


def test_every_fence_is_in_a_language_that_a_test_tries() -> None:
    assert FENCES and {fence.language for fence in FENCES} <= {"", "python", "json"}
    marks = sum(page.read_text(encoding="utf-8").count("\n<!--") for page in DOCUMENTS)
    assert marks == sum(bool(fence.needs) for fence in FENCES), "a `needs` comment has no fence after it"


# Length, links, completeness ------------------------------------------------------------------------------------------


def test_readme_is_short_and_holds_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "\npip install -e . && con360 demo\n" in text and '\npip install -e ".[test]" && pytest\n' in text
    assert 'pip install --quiet -e ".[test]"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", DOCUMENTS + OTHER_PAGES, ids=name_of)
def test_lines_wrap(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [n for n, line in enumerate(lines, 1) if len(line) > 120 and not re.match(r"\||\S*https?://\S+$", line)]
    assert long == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS + OTHER_PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}; {name} has {anchors(file)}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    """Paths of the project in backticks, as in the paper's tables."""
    rooms = r"(?:benchmarks|con360|docs|nodes|tests|tools|train|web|workflows)"
    named = re.findall(rf"`({rooms}/[\w./*-]+)[`:]", page.read_text(encoding="utf-8"))
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


SVG = re.compile(r"models/svg|con360/svg|SVG (?:folder|weights)")
TELLING = [
    *DOCUMENTS,
    *OTHER_PAGES,
    *sorted((ROOT / "train").glob("*.yaml")),
    *sorted((ROOT / "workflows").glob("*.json")),
]


@pytest.mark.parametrize(
    "page", [page for page in TELLING if SVG.search(page.read_text(encoding="utf-8"))], ids=name_of
)
def test_who_names_the_published_weights_says_what_they_draw(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "Greatest Hits" in text and "drumsticks" in text


def test_index_lists_every_page_once() -> None:
    listed = re.findall(
        r"^\| \[\w+\]\((\w+\.md)\)", (ROOT / "docs/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(page.name for page in PAGES if page.name != "README.md")


def test_every_dependency_has_its_role() -> None:
    wanted = project()["dependencies"] + sum(project()["optional-dependencies"].values(), [])
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted}
    rows = re.findall(r"^\| ([\w-]+) \|", (ROOT / "docs/dependencies.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert names <= set(rows)
