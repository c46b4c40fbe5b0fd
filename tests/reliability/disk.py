"""Try a full disk, files that may not grow, and a folder that may not be written to.

The full disk is a tmpfs of its own where the system lets a process mount one; a limit on the size of files stands in
for it elsewhere, and the figure says which.
"""

from __future__ import annotations

import ctypes
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .apart import apart
from .bad_files import command, frames_and_sound, tiny_model_folder
from .figures import Effort, Figure, timed
from .kills import digest

SIZE_KB = 40_000
LEFT_BYTES = 4096
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
PRIVATE, REMOUNT, READ_ONLY = 1 << 18 | 1 << 14, 1 << 5, 1


def figures(effort: Effort) -> Iterator[Figure]:
    from synthetic_clips import noise, write_video

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_video(place / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000))
        tiny_model_folder(place)
        (place / "disk").mkdir()
        mounts = apart(mount, place / "disk").trace == ""
        jobs = {
            "generate": generate,
            "reframe": reframe,
            "project": project,
            "convert": convert,
            "train": train,
            "write_frames": frames,
        }
        if effort.name == "test":
            jobs = {name: jobs[name] for name in ("generate", "convert")}
        yield _full(place, jobs, mounts)
        yield _read_only(place, mounts)


def mount(disk: Path) -> None:
    """Mount a small file system at a folder, for this process only."""
    libc, number = ctypes.CDLL(None, use_errno=True), os.getuid()
    if libc.unshare(NEW_MOUNTS) != 0:
        _check(libc.unshare(NEW_USER | NEW_MOUNTS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {number} 1")
    _check(libc.mount(None, b"/", None, PRIVATE, None))
    _check(libc.mount(b"none", str(disk).encode(), b"tmpfs", 0, f"size={SIZE_KB}k".encode()))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _fill(disk: Path) -> None:
    with open(disk / "ballast", "wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - LEFT_BYTES
        file.write(bytes(max(0, free)))


def _full(place: Path, jobs: dict[str, Callable[[Path, Path], str]], mounts: bool) -> Figure:
    with timed("a full disk: one sentence, earlier results whole, nothing unfinished left") as figure:
        for name, job in jobs.items():
            end = apart(run_when_full, job, place, mounts, timeout_s=300)
            figure.expect(not end.trouble, f"{name}: {end.trouble}")
            figure.failures += [f"{name}: {problem}" for problem in end.value or ()]
        figure.tried = f"{', '.join(jobs)} on {f'a tmpfs of {SIZE_KB} kB' if mounts else 'files that may not grow'}"
        figure.outcome = "said so, what was there stayed"
    return figure


def run_when_full(job: Callable[[Path, Path], str], place: Path, mounts: bool) -> list[str]:
    """Do a job twice, the second time without room; return the faults afterwards."""
    disk = place / "disk" if mounts else Path(tempfile.mkdtemp(dir=place))
    if mounts:
        mount(disk)
    first = job(place, disk)
    if first:
        return [f"with room: {first}"]
    before = {p: digest(p) for p in disk.rglob("*") if p.is_file()}
    if mounts:
        _fill(disk)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LEFT_BYTES, resource.RLIM_INFINITY))
    said = job(place, disk)
    after = {p: digest(p) for p in disk.rglob("*") if p.is_file() and p.name != "ballast"}
    lost = [str(p) for p, value in before.items() if after.get(p) != value and not _is_log(p)]
    new = [p.name for p in set(after) - set(before) if not _is_log(p)]
    problems = [f"changed or lost {lost}"] * bool(lost) + [f"left {new}"] * bool(new)
    if "disk is full" not in said and "No space left" not in said or "Traceback" in said:
        problems.append(f"no clear sentence: {said[-300:]!r}")
    return problems


def _is_log(path: Path) -> bool:
    """Tell whether a file is a log or lock of a training, which may change and is no result."""
    return path.suffix in (".jsonl", ".lock") or "tfevents" in path.name or path.name == ".lock"


def generate(place: Path, disk: Path) -> str:
    """Generate a clip onto the disk; return the error text, or "" when it is done."""
    status, _, errors = command(
        "generate", place / "clip.mp4", "-o", disk / "view.mp4", "--model", tiny_model_folder(place), "--duration",
        "0.5", "--steps", "1",
    )  # fmt: skip
    if status == 0:
        assert frames_and_sound(disk / "view.mp4") == (4, 8000)
    return "" if status == 0 else f"{errors}" if status == 1 else f"status {status}: Traceback {errors}"


def reframe(place: Path, disk: Path) -> str:
    status, _, errors = command("reframe", place / "clip.mp4", "-o", disk / "flat.mp4", "--size", "640x640", "--yaw", 5)
    return "" if status == 0 else f"{errors}" if status == 1 else f"status {status}: Traceback {errors}"


def project(place: Path, disk: Path) -> str:
    outs = ("-o", disk / "whole.mp4", "--mask", disk / "mask.mp4")
    status, _, errors = command("project", place / "clip.mp4", *outs, "--height", "512")
    return "" if status == 0 else f"{errors}" if status == 1 else f"status {status}: Traceback {errors}"


def convert(place: Path, disk: Path) -> str:
    import torch

    source = place / "weights.pt"
    if not source.exists():
        torch.save({"weight": torch.zeros(100_000)}, source)
    status, _, errors = command("convert", source, disk / "weights.safetensors")
    return "" if status == 0 else f"{errors}" if status == 1 else f"status {status}: Traceback {errors}"


def frames(place: Path, disk: Path) -> str:
    import torch

    from con360.media.writer import write_frames

    try:
        write_frames(disk / "frames", torch.rand(3, 3, 64, 64))
    except OSError as error:
        return str(error)
    return ""


def train(place: Path, disk: Path) -> str:
    """Train a step and write a checkpoint; the second time, resume from it for another step in the same folder."""
    from dataclasses import replace

    from tiny_clips import make_loop, quick_config

    from train.checkpoint import checkpoints, read_state
    from train.devices import OneProcess

    config = quick_config(disk, steps=1, checkpoint_every=1)
    found = checkpoints(config.folder / "checkpoints")
    loop = make_loop(replace(config, steps=2 if found else 1), OneProcess())
    if found:
        loop.load(found[0])
    try:
        loop.run()
    except OSError as error:
        return str(error)
    finally:
        for path in checkpoints(config.folder / "checkpoints"):
            read_state(path)
    return ""


def _read_only(place: Path, mounts: bool) -> Figure:
    with timed("a folder that may not be written to: one sentence before the work begins") as figure:
        end = apart(write_to_read_only, place, mounts, timeout_s=120)
        figure.expect(not end.trouble, end.trouble)
        figure.failures += end.value or []
        figure.tried = f"generate, reframe on {'a read-only file system' if mounts else 'a folder of another user'}"
    return figure


def write_to_read_only(place: Path, mounts: bool) -> list[str]:
    disk, libc = place / "disk", ctypes.CDLL(None, use_errno=True)
    if mounts:
        mount(disk)
        _check(libc.mount(b"none", str(disk).encode(), b"tmpfs", REMOUNT | READ_ONLY, None))
    else:
        disk.chmod(0o555)
        if os.getuid() == 0:
            return ["NOT TRIED: root may write anywhere, and this system lets it mount nothing"]
    problems = []
    for arguments in (("generate", "--model", tiny_model_folder(place)), ("reframe", "--yaw", "5")):
        status, _, errors = command(arguments[0], place / "clip.mp4", "-o", disk / "x.mp4", *arguments[1:])
        if status != 2 or "may not be written" not in errors or "Traceback" in errors:
            problems.append(f"{arguments[0]}: status {status}, {errors[-300:]}")
    return problems
