"""Mutated bytes for everything that reads files: media, spherical metadata, weights, models, keyframes.

The number of an execution determines its seed file and mutation. A failure is reported by number, and
`python -m tests.reliability.fuzz KIND NUMBER FILE` writes its bytes. Only a result or an `InputError` is allowed.
Batches run in processes of their own, so that hangs, crashes and memory are seen from outside.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from .apart import apart
from .bad_files import tiny_model_folder
from .figures import Effort, Figure, timed

BATCH = 250
BATCH_TIMEOUT_S = 300.0
# One execution may take this long: seeds are clips of half a second that read in milliseconds.
SLOW_S = 10.0
MAX_EXTRA_MB = 600
INTERESTING = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\xff\xfe", b"\0")


# Mutation -------------------------------------------------------------------------------------------------------------


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Make a few small changes, as a damaged disk, a bad program or an attacker would make them."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        _MUTATIONS[chance.randrange(len(_MUTATIONS))](changed, chance)
    return bytes(changed)


def _at(data: bytearray, chance: random.Random) -> int:
    # Prefer the beginning and the end: headers lie there, and the index of an MP4 may lie at the end.
    where = chance.random()
    reach = min(len(data), 512)
    if where < 0.4:
        return chance.randrange(reach or 1)
    return len(data) - 1 - chance.randrange(reach or 1) if where < 0.6 else chance.randrange(len(data) or 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_at(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    value, at = chance.choice(INTERESTING), _at(data, chance)
    data[at : at + len(value)] = value


def _random_bytes(data: bytearray, chance: random.Random) -> None:
    at, count = _at(data, chance), chance.choice((1, 2, 4, 8, 64))
    data[at : at + count] = chance.randbytes(count)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_at(data, chance) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    at = _at(data, chance)
    del data[at : at + chance.choice((1, 4, 32, 256))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at, count = _at(data, chance), chance.choice((4, 16, 128, 1024))
    data[at:at] = data[at : at + count]


def _swap(data: bytearray, chance: random.Random) -> None:
    a, b, count = _at(data, chance), _at(data, chance), chance.choice((4, 8, 32))
    first, second = bytes(data[a : a + count]), bytes(data[b : b + count])
    data[a : a + count], data[b : b + count] = second, first


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _flip, _overwrite, _overwrite, _random_bytes, _cut, _remove, _repeat, _swap,
)  # fmt: skip


# Seeds ----------------------------------------------------------------------------------------------------------------


@cache
def media_seeds() -> dict[str, bytes]:
    """Return small valid files of every container and codec that people bring."""
    import numpy as np
    from PIL import Image
    from synthetic_clips import noise, write_video

    from con360.media.writer import clip_stream, write_wav
    from con360.records import Sound

    from .sound_matrix import QUICKTIME_5_1_B, name_channels

    times = [i / 8 for i in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        small = {"size": (64, 32)}
        write_video(place / "h264.mp4", times, sound=noise(2, 12000), rate_hz=24000, **small)
        write_video(place / "prores.mov", times, codec="prores_ks", pix_fmt="yuv422p10le", sound=noise(1, 4000),
                    rate_hz=8000, sound_codec="pcm_s16le", **small)  # fmt: skip
        write_video(place / "orders.mov", times, codec="mpeg4", clock=1000, sound=noise(6, 4000), rate_hz=8000,
                    layout="5.1", sound_codec="pcm_s16le", **small)  # fmt: skip
        name_channels(place / "orders.mov", QUICKTIME_5_1_B)
        # Begins before its time 0.
        write_video(place / "early.mkv", [t - 0.3 for t in times], codec="mpeg4", clock=1000, sound=noise(1, 4000),
                    rate_hz=8000, sound_start_s=-0.3, sound_codec="flac",
                    options={"avoid_negative_ts": "disabled"}, **small)  # fmt: skip
        write_video(place / "vp8.webm", times, codec="libvpx", clock=1000, sound=noise(2, 24000),
                    sound_codec="libopus", **small)  # fmt: skip
        write_video(place / "vp9.webm", times, codec="libvpx-vp9", clock=1000, **small)
        write_video(place / "mpeg.mkv", times, codec="mpeg4", clock=1000, sound=noise(1, 8000), rate_hz=16000, **small)
        write_video(place / "h264.ts", times, sound=noise(2, 12000), rate_hz=24000, **small)
        from fractions import Fraction

        with clip_stream(place / "tagged.mp4", (64, 32), Fraction(1, 8), 8, (4, 8000), panorama="top-bottom") as clip:
            for i in range(4):
                clip.add_frame(np.full((32, 64, 3), 60 * i, np.uint8), i)
            clip.add_sound(noise(4, 4000))
        import torch

        for channels in (1, 4):
            write_wav(place / f"{channels}.wav", Sound(torch.from_numpy(noise(channels, 800)), 8000))
        pixels = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
        for name in ("a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.gif"):
            Image.fromarray(pixels).save(place / name)
        return {p.name: p.read_bytes() for p in sorted(place.iterdir())}


@cache
def weight_seeds() -> dict[str, bytes]:
    """Return a control file and pickled weights."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model_folder(Path(folder))
        control = (model / "control.safetensors").read_bytes()
        torch.save({"state_dict": {"a": torch.zeros(4), "b": torch.ones(2, 2)}}, Path(folder) / "w.ckpt")
        return {"control.safetensors": control, "w.ckpt": (Path(folder) / "w.ckpt").read_bytes()}


# Subjects -------------------------------------------------------------------------------------------------------------


def read_media(path: Path) -> None:
    import torch

    from con360.errors import InputError
    from con360.media.reader import read_panorama, read_sound

    try:
        clip = read_panorama(path, duration_s=0.5, height=8)
        assert clip.frames.shape == (4, 3, 8, 16) and bool(torch.isfinite(clip.frames).all()), "frames"
        assert clip.sound is None or bool(torch.isfinite(clip.sound.waveform).all()), "sound"
    except InputError:
        read_sound(path)


def read_tags(path: Path) -> None:
    """Run the project's parsers of spherical metadata and Matroska blocks, and the writer that edits boxes in place."""
    from con360.media.early import early_times
    from con360.media.spherical import parse_spherical_xml, read_track_tags
    from con360.media.spherical_tags import tag_file

    read_track_tags(path)
    early_times(path)
    parse_spherical_xml(path.read_bytes().decode("utf-8", "replace"))
    tag_file(path, panorama="mono", ambisonic=True)


def read_weights(path: Path) -> None:
    from con360.control import load_control
    from con360.errors import InputError
    from con360.saliency.salvit360 import load_salvit360
    from con360.weights.files import read_header, read_tensors
    from con360.weights.kinds import kind_of

    for read in (lambda: kind_of(read_header(path)), lambda: read_tensors(path), lambda: load_control(path),
                 lambda: load_salvit360(path)):  # fmt: skip
        try:
            read()
        except InputError:
            continue


def read_keyframes(path: Path) -> None:
    from con360.viewpoint.keyframes import keyframes_from_json

    keyframes_from_json(path.read_bytes().decode("utf-8", "replace"))


KEYFRAMES = json.dumps([{"time": 0, "yaw": -30.5, "pitch": 0, "fov": 90}, {"time": 1e0, "yaw": 170}]).encode()


def figures(effort: Effort) -> Iterator[Figure]:
    some = max(20, effort.fuzz // 10)
    yield _fuzz("media", "the media reader on mutated files: a result or one sentence", effort.fuzz)
    yield _fuzz("tags", "spherical metadata, read and written, on mutated files: a result or one sentence", effort.fuzz)
    yield _fuzz("weights", "control files and checkpoints, mutated: weights or one sentence", some)
    yield _fuzz("headers", "safetensors headers that claim other shapes, types and sizes: one sentence", some)
    yield _fuzz("keyframes", "keyframes, mutated: a path or one sentence", effort.fuzz)
    yield _models(max(5, effort.fuzz // 100))


SUBJECTS: dict[str, tuple[Callable[[], dict[str, bytes]], Callable[[Path], None]]] = {
    "media": (media_seeds, read_media),
    "tags": (media_seeds, read_tags),
    "weights": (weight_seeds, read_weights),
    "headers": (weight_seeds, read_weights),
    "keyframes": (lambda: {"k.json": KEYFRAMES}, read_keyframes),
}


def made(kind: str, number: int) -> tuple[str, bytes]:
    """Return the file name and bytes of an execution."""
    chance = random.Random(f"{kind} {number}")
    seeds = SUBJECTS[kind][0]()
    if kind == "headers":
        return "h.safetensors", _other_header(seeds["control.safetensors"], chance)
    name = sorted(seeds)[chance.randrange(len(seeds))]
    return name, mutate(seeds[name], chance)


def _other_header(data: bytes, chance: random.Random) -> bytes:
    """Replace the header of a file by one that is valid JSON with other values."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    for _ in range(chance.choice((1, 1, 2, 3))):
        name = chance.choice(names)
        field, value = chance.choice((
            ("dtype", chance.choice(("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "Q4", "", None, 7))),
            ("shape", chance.choice(([2**40], [2**31, 2**31], [], [0], [-1], [1e9], "x", None, [2**63], [[1]]))),
            ("data_offsets", chance.choice(([0, 2**40], [2**40, 0], [-8, 8], [0], "x", None, [0, 4], [2**63, 2**64]))),
        ))  # fmt: skip
        if chance.random() < 0.2:
            config = header.get("__metadata__", {}).get("config", "{}")
            number = str(chance.choice((0, -1, 10**6, 10**9, 2**63, 1e308, "NaN", "[]", "{}", "null", '"x"', 0.5)))
            spans = [i for i, c in enumerate(config) if c.isdigit()] or [0]
            at = chance.choice(spans)
            header["__metadata__"]["config"] = config[:at] + number + config[at + 1 :]
        elif isinstance(header.get(name), dict):
            header[name][field] = value
    text = json.dumps(header).encode()
    claimed = chance.choice((len(text),) * 6 + (2**63, 10**8, 0, len(text) + 9, 2**64 - 1))
    return struct.pack("<Q", claimed) + text + data[8 + length :]


def _fuzz(kind: str, promise: str, executions: int) -> Figure:
    with timed(promise) as figure:
        done, slowest, peak = 0, 0.0, 0.0
        for first in range(0, executions, BATCH):
            numbers = range(first, min(first + BATCH, executions))
            end = apart(run_batch, kind, numbers, timeout_s=BATCH_TIMEOUT_S)
            if end.value is None:
                figure.failures += _culprits(kind, numbers, end.trouble)
                continue
            failures, slow = end.value
            figure.failures += failures
            done, slowest, peak = done + len(numbers), max(slowest, slow), max(peak, end.peak_mb)
        figure.expect(peak < MAX_EXTRA_MB, f"{peak:.0f} MB more")
        figure.tried = f"{done} executions"
        figure.outcome = f"slowest {slowest:.1f} s, {peak:.0f} MB more at most"
    return figure


def _culprits(kind: str, numbers: range, trouble: str) -> list[str]:
    """Run each execution of a batch alone, and list those that crash or hang."""
    found = []
    for number in numbers:
        end = apart(run_batch, kind, range(number, number + 1), timeout_s=4 * SLOW_S)
        if end.value is None:
            found.append(f"{kind} {number}: {end.trouble}")
            if len(found) == 5:
                break
    return found or [f"{kind} {numbers[0]} to {numbers[-1]}: {trouble}, by none of them alone"]


def run_batch(kind: str, numbers: range) -> tuple[list[str], float]:
    """Run a batch; return its failures and the seconds of the slowest execution."""
    import logging
    import warnings

    from con360.errors import InputError

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    failures, slowest, work = [], 0.0, SUBJECTS[kind][1]
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        for number in numbers:
            name, data = made(kind, number)
            # Processor time: on a busy machine the clock says little. A hang runs into the batch's own timeout.
            path, began = Path(folder) / name, time.process_time()
            path.write_bytes(data)
            try:
                work(path)
            except InputError as error:
                if "\n" in str(error) or len(str(error)) > 600:
                    failures.append(f"{kind} {number} ({name}): no clear sentence: {str(error)[:200]!r}")
            except Exception as error:
                failures.append(f"{kind} {number} ({name}): {type(error).__name__}: {str(error)[:160]!r}")
            seconds = time.process_time() - began
            slowest = max(slowest, seconds)
            if seconds > SLOW_S:
                failures.append(f"{kind} {number} ({name}): {seconds:.0f} s")
            path.unlink()
    return failures, slowest


def _memory() -> str | None:
    # Keep the many small files off the disk.
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


# Models ---------------------------------------------------------------------------------------------------------------


def _models(executions: int) -> Figure:
    with timed("model folders with a damaged file: a model or one sentence") as figure:
        done = 0
        for first in range(0, executions, BATCH // 5):
            numbers = range(first, min(first + BATCH // 5, executions))
            end = apart(damage_models, numbers, timeout_s=BATCH_TIMEOUT_S)
            figure.failures += [f"models from {first}: {end.trouble}"] if end.value is None else end.value
            done += len(numbers)
        figure.tried = f"{done} folders"
    return figure


def damage_models(numbers: range) -> list[str]:
    """Damage one file of a model folder at a time, configurations more often than weights."""
    import logging
    import warnings

    from con360.errors import InputError
    from con360.weights.load import load_joint_model

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    failures = []
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        good = tiny_model_folder(Path(folder))
        files = sorted(p.relative_to(good) for p in good.rglob("*") if p.is_file())
        files += [f for f in files if f.suffix == ".json"] * 3
        for number in numbers:
            chance = random.Random(f"models {number}")
            broken = good.parent / f"broken-{number}"
            shutil.copytree(good, broken)
            file = broken / chance.choice(files)
            file.write_bytes(mutate(file.read_bytes(), chance))
            try:
                load_joint_model(broken)
            except InputError:
                pass  # expected: it names the file and the fault
            except Exception as error:
                what = f"{type(error).__name__}: {str(error)[:160]!r}"
                failures.append(f"models {number} ({file.relative_to(broken)}): {what}")
            shutil.rmtree(broken)
    return failures


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(made(sys.argv[1], int(sys.argv[2]))[1])
