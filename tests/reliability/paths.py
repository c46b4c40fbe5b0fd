"""Names from workflows stay inside ComfyUI's folders, for reading and for writing.

Bait lies outside: a clip, a model, a control file and weights that all load. An audit hook sees each file that Python
opens.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .figures import Effort, Figure, timed

# Ways out of a folder; {name} is the bait outside, {outside} its folder.
FORMS = (
    "../{name}", "../../{name}", "sub/../../{name}", "./../{name}", "..//{name}", "{outside}/{name}", "~/{name}",
    "file://{outside}/{name}", "http://127.0.0.1:9/{name}", "link-{name}", "linked/{name}", "linked/sub/../{name}",
    "..\\{name}", "..\\..\\{name}", "sub\\..\\..\\{name}", "C:\\{name}", "C:{name}", "C:/{name}",
    "\\\\server\\share\\{name}", "//server/share/{name}", "\\\\?\\C:\\{name}", "{name}\0", "\0", "../{name}\0.mp4",
    "../{name} [output]", "../{name} [temp]", "{outside}/{name} [input]", "..", ".", "", "/", "\\", "con", "nul:",
    "sub/\n../{name}", "%2e%2e/{name}", "x" * 5000, "x/" * 3000,
)  # fmt: skip


def figures(effort: Effort) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        world = _World(Path(folder))
        yield _reading(world)
        yield _writing(world)


class _World:
    """A stand-in for ComfyUI in a folder, and valid files of every kind beside that folder."""

    def __init__(self, root: Path) -> None:
        from synthetic_clips import write_video
        from tiny_workflow import write_model_files

        from tools.host import Host

        self.host, self.outside = Host(root / "comfy"), root / "comfy"
        write_video(self.outside / "secret.mp4", [i / 8 for i in range(4)])
        write_model_files(self.outside / "loose")
        (self.outside / "secret-model").symlink_to(self.outside / "loose" / "con360" / "random")
        control = self.outside / "loose" / "con360_control" / "random.safetensors"
        (self.outside / "secret.safetensors").symlink_to(control)
        for name in ("input", "output", "models/con360", "models/con360_control", "models/con360_saliency",
                     "models/con360_faces"):  # fmt: skip
            (self.host.base / name / "sub").mkdir(parents=True, exist_ok=True)
        shutil.copy(self.outside / "secret.mp4", self.host.base / "input" / "sub" / "inside.mp4")
        shutil.copytree(self.outside / "secret-model", self.host.base / "models" / "con360" / "inside-model")
        shutil.copy(control, self.host.base / "models" / "con360_control" / "inside.safetensors")
        (self.outside / "secret.onnx").write_bytes(b"a detector")
        for name in ("input", "output"):
            (self.host.base / name / "linked").symlink_to(self.outside)
            (self.host.base / name / "link-secret.mp4").symlink_to(self.outside / "secret.mp4")
        if os.sep == "/":
            # On Windows these names leave the folder, elsewhere they are plain: both systems must refuse them.
            for name in ("..\\secret.mp4", "C:\\secret.mp4", "\\\\server\\share\\secret.mp4"):
                shutil.copy(self.outside / "secret.mp4", self.host.base / "input" / name)

    def names(self, name: str) -> list[str]:
        return [form.format(name=name, outside=self.outside) for form in FORMS]


def _reading(world: _World) -> Figure:
    with timed("names in workflows cannot reach files outside of ComfyUI's folders: reading") as figure:
        tried = 0
        for door, name, call in _doors(world):
            for bad in world.names(name):
                tried += 1
                with _watching(world) as opened:
                    problem = _refusal(call, bad)
                figure.expect(not problem, f"{door} {bad[:80]!r}: {problem}")
                figure.expect(not opened, f"{door} {bad[:80]!r}: opened {opened[:1]}")
            inside = _INSIDE.get(door)
            # An input that refuses every name would prove nothing.
            figure.expect(not inside or _refusal(call, inside) == "was accepted", f"{door} refuses {inside!r} as well")
        figure.tried = f"{tried} names at {len(list(_doors(world)))} inputs"
        figure.outcome = "all refused in one sentence, nothing opened"
    return figure


_INSIDE = {
    "Load360Video.video": "sub/inside.mp4", "Reframe360Video.video": "sub/inside.mp4",
    "Con360Level360Video.video": "sub/inside.mp4", "Con360CheckClip.video": "sub/inside.mp4",
    "Con360ModelLoader.model": "inside-model", "Con360ControlLoader.control": "inside.safetensors",
}  # fmt: skip


def _doors(world: _World) -> Iterator[tuple[str, str, Callable[[str], Any]]]:
    """Yield each input that names a file or folder: its name, its bait, and a call that uses a value."""
    import torch

    classes = {cls.define_schema().node_id: cls for cls in _classes(world)}
    load = {"start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"}
    look = {
        "mode": "yaw and pitch", "rank": 1, "yaw": 0.0, "pitch": 0.0, "fov": 90.0, "width": 32, "height": 32,
        "start": 0.0, "duration": 0.0, "sound": "none",
    }  # fmt: skip
    clip = {"frames": torch.zeros(1, 32, 64, 3)}
    spoken = {**clip, "fps": 8.0, "text": "", "scene_caption": ""}
    parts = ("video", "motion", "audio", "connectors", "vae")
    yield "Load360Video.video", "secret.mp4", _use(world, classes["Load360Video"], "video", load)
    yield "Reframe360Video.video", "secret.mp4", _use(world, classes["Reframe360Video"], "video", look)
    turn = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "auto": False, "filename_prefix": "levelled"}
    yield "Con360Level360Video.video", "secret.mp4", _use(world, classes["Con360Level360Video"], "video", turn)
    yield "Con360CheckClip.video", "secret.mp4", _use(world, classes["Con360CheckClip"], "video", {})
    model = {"model": "con360-tiny", "precision": "auto"}
    yield "Con360ModelLoader.model", "secret-model", _use(world, classes["Con360ModelLoader"], "model", model)
    for part in parts:
        yield f"Con360ModelLoader.{part}", "secret-model", _use(world, classes["Con360ModelLoader"], part, model)
    control = _use(world, classes["Con360ControlLoader"], "control", {})
    yield "Con360ControlLoader.control", "secret.safetensors", control
    saliency = classes["SalViT360Saliency"]
    yield "SalViT360Saliency.method", "secret.safetensors", _use(world, saliency, "method", clip)
    looking = {**clip, "method": "multi-cue (built in)"}
    yield "SalViT360Saliency.faces", "secret.onnx", _use(world, saliency, "faces", looking)
    for name in ("captioner", "language_model"):
        yield f"CubemapCaption.{name}", "secret-model", _use(world, classes["CubemapCaption"], name, spoken)


def _classes(world: _World) -> list[Any]:
    return world.host.pack_classes


def _use(world: _World, cls: Any, name: str, others: dict[str, Any]) -> Callable[[str], Any]:
    def use(value: str) -> Any:
        from tools.host.modules import installed

        inputs = {**others, name: value}
        with installed(world.host._modules):
            # The server calls these first; a linked value reaches `execute` without them.
            for ask in ("validate_inputs", "fingerprint_inputs"):
                if hasattr(cls, ask):
                    _asked(getattr(cls, ask), inputs)
            return cls.execute(**inputs)

    return use


def _asked(ask: Callable[..., Any], inputs: dict[str, Any]) -> None:
    import inspect

    known = inspect.signature(ask).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
    try:
        ask(**(inputs if takes_all else {k: v for k, v in inputs.items() if k in known}))
    except Exception as error:
        if type(error).__name__ != "InputError":
            raise


def _refusal(call: Callable[[str], Any], value: str) -> str:
    """Return "" if a name is refused in one clear sentence, else a description of the fault."""
    try:
        call(value)
    except Exception as error:
        if type(error).__name__ != "InputError":
            return f"{type(error).__name__}: {str(error)[:120]}"
        sentence = str(error)
        return "" if "\n" not in sentence and "\0" not in sentence and len(sentence) < 1500 else "no clear sentence"
    return "was accepted"


def _writing(world: _World) -> Figure:
    import torch

    save = next(cls for cls in _classes(world) if cls.define_schema().node_id == "Save360Video")
    frames = {"frames": torch.zeros(1, 32, 64, 3), "fps": 8.0, "stereo": "mono"}
    use = _use(world, save, "filename_prefix", frames)
    output = world.host.base / "output"
    with timed("names in workflows cannot reach files outside of ComfyUI's folders: writing") as figure:
        before, refused = _all_files(world, output), 0
        names = world.names("away")
        for bad in names:
            problem = _refusal(use, bad)
            refused += not problem
            new = _all_files(world, output) - before
            figure.expect(problem in ("", "was accepted"), f"{bad[:80]!r}: {problem}")
            figure.expect(not new, f"{bad[:80]!r}: wrote {sorted(new)[:2]}")
            before |= new
        figure.tried = f"{len(names)} prefixes at Save360Video"
        figure.outcome = f"{refused} refused, the others inside the output folder"
    return figure


def _all_files(world: _World, inside: Path) -> set[str]:
    return {
        str(p) for p in world.outside.rglob("*") if not (p.is_relative_to(inside) or "__pycache__" in p.parts)
    }  # fmt: skip


# An audit hook cannot be removed, so there is only one, which records inside `_watching` alone.
_looking: list[tuple[list[str], list[str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _looking and event == "open" and isinstance(arguments[0], str):
        forbidden, opened = _looking[-1]
        if any(arguments[0].startswith(place) for place in forbidden):
            opened.append(arguments[0])


@contextmanager
def _watching(world: _World) -> Iterator[list[str]]:
    """Collect the bait files outside ComfyUI's folders that are opened in the block."""
    if not hasattr(sys, "_con360_watching"):
        sys.addaudithook(_hook)
        sys._con360_watching = True  # type: ignore[attr-defined]
    opened: list[str] = []
    _looking.append(([str(world.outside / name) for name in ("secret", "loose")], opened))
    try:
        yield opened
    finally:
        _looking.pop()
