"""Run the project's parsers under a coverage-guided fuzzer (atheris, libFuzzer).

    python -m tests.reliability --only guided
    python -m tests.reliability.guided KIND RUNS FOLDER      # one parser; FOLDER collects inputs, a crash among them

`fuzz` mutates blindly and tries every reader of files, coders included; this goes deeper into the project's own code.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .figures import Effort, Figure, timed

# What each parser reads, and from which file.
KINDS = {
    "tags": ("spherical metadata, read and written", "input.mp4"),
    "keyframes": ("keyframes", "input.json"),
    "weights": ("headers of weights, and control files", "input.safetensors"),
}
# Random bytes are seldom valid JSON: for a parser of JSON, the fuzzer's bytes choose what is written.
WORDS = {
    "keyframes": ("time", "yaw", "pitch", "fov"),
    "weights": ("__metadata__", "config", "format", "base", "dtype", "shape", "data_offsets", "F16", "F32", "pt",
                "encoder.convs.0.weight", "heads.video_up_1.linear.weight", "conv_in.weight"),
}  # fmt: skip
INSTRUMENTED = (
    "con360.media.spherical", "con360.media.early", "con360.media.spherical_tags", "con360.viewpoint.keyframes",
    "con360.weights.files", "con360.weights.kinds", "con360.control.file",
)  # fmt: skip
# Boxes and headers; long payloads only slow the search down.
MAX_BYTES = 20_000
SLOW_S, MAX_MB, TIMEOUT_S = 10, 3000, 3600


def figures(effort: Effort) -> Iterator[Figure]:
    runs = max(2000, effort.fuzz // 2)
    for kind, (what, _) in KINDS.items():
        with timed(f"{what}, by a fuzzer that follows the code: a result or one sentence") as figure:
            if importlib.util.find_spec("atheris") is None:
                figure.tried = "nothing"
                figure.outcome = "NOT TRIED: no atheris; pip install atheris (Linux, macOS; Python 3.11 or newer)"
            else:
                _guided(figure, kind, runs)
        yield figure


def _guided(figure: Figure, kind: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.reliability.guided", kind, str(runs), folder],
            cwd=Path(__file__).resolve().parents[2], timeout=TIMEOUT_S,
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    said = done.stdout + done.stderr
    executed = re.search(r"Done (\d+) runs", said)
    reached = re.findall(r"cov: (\d+)", said)
    figure.expect(done.returncode == 0 and executed, f"{kind}: {_crash(said)}")
    figure.expect(len(set(reached)) > 1, f"{kind}: no line was reached beyond the first ones; nothing is followed")
    figure.tried = f"{executed[1] if executed else '?'} executions"
    figure.outcome = f"{reached[-1] if reached else '?'} branches reached"


def _crash(said: str) -> str:
    """The error and the line of ours that it came from."""
    lines = [line.strip() for line in said.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(error|Error|Exception)\b", line) or "libFuzzer: " in line]
    return " | ".join([*errors[:2], *[line for line in lines if "/con360/" in line][-1:]]) or said[-300:]


def _seeds(kind: str) -> dict[str, bytes]:
    from .fuzz import media_seeds

    if kind == "tags":
        return {name: media_seeds()[name][:MAX_BYTES] for name in ("tagged.mp4", "vp9.webm", "4.wav")}
    return {str(i): random.Random(i).randbytes(300) for i in range(50)}


def _content(kind: str, data: bytes) -> bytes:
    """Make the bytes of an execution's file."""
    from atheris import FuzzedDataProvider

    if kind == "tags":
        return data
    bytes_left = FuzzedDataProvider(data)
    text = json.dumps(_value(bytes_left, WORDS[kind], 0)).encode("utf-8", "surrogatepass")
    if kind == "keyframes":
        return text
    claimed = len(text) if bytes_left.ConsumeIntInRange(0, 7) else bytes_left.ConsumeIntInRange(0, 2**64 - 1)
    return struct.pack("<Q", claimed) + text + bytes_left.ConsumeBytes(64)


def _value(source: Any, words: tuple[str, ...], depth: int) -> Any:
    """Build a JSON value from the fuzzer's bytes; the outermost one is a list or an object, as in real files."""
    kind = source.ConsumeIntInRange(0, 1 if depth == 0 else 7)
    count = 0 if depth > 3 else source.ConsumeIntInRange(0, 4)
    if kind == 0:
        # Half the time use the expected keys: chance rarely gets past them.
        keys = words[:count] if source.ConsumeBool() else [_word(source, words) for _ in range(count)]
        return {key: _value(source, words, depth + 1) for key in keys}
    if kind == 1:
        return [_value(source, words, depth + 1) for _ in range(count)]
    if kind == 2:
        return source.ConsumeFloat()
    if kind == 3:
        return source.ConsumeInt(9)
    if kind == 4:
        return source.ConsumeIntInRange(-400, 400)
    return _word(source, words) if kind < 7 else source.PickValueInList([None, True, False, 0, 1e308, "", "NaN", "{}"])


def _word(source: Any, words: tuple[str, ...]) -> str:
    known = source.ConsumeIntInRange(0, len(words))
    return source.ConsumeUnicode(12) if known == len(words) else words[known]


def _reader(kind: str) -> Callable[[Path], None]:
    from con360.control import load_control
    from con360.errors import InputError
    from con360.weights.files import read_header
    from con360.weights.kinds import kind_of

    from .fuzz import read_keyframes, read_tags

    def read_weights(path: Path) -> None:
        try:
            kind_of(read_header(path))
        except InputError:
            load_control(path)

    return {"tags": read_tags, "keyframes": read_keyframes, "weights": read_weights}[kind]


def main(kind: str, runs: str, folder: str, seed: str = "1") -> None:
    import logging

    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        for name in INSTRUMENTED:
            importlib.import_module(name)
    from con360.errors import InputError

    logging.disable(logging.WARNING)
    corpus, read = Path(folder) / "inputs", _reader(kind)
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in _seeds(kind).items():
        (corpus / name).write_bytes(data)
    file = Path(folder) / KINDS[kind][1]

    def one(data: bytes) -> None:
        file.write_bytes(_content(kind, data))
        try:
            read(file)
        except InputError:
            pass  # the allowed refusal

    limits = {"runs": runs, "max_len": MAX_BYTES, "timeout": SLOW_S, "rss_limit_mb": MAX_MB, "seed": seed}
    options = [f"-{name}={value}" for name, value in limits.items()]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
