"""Two runs on one machine: two generations to one file, two trainings to one folder, two clips in one process."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .apart import apart, start
from .bad_files import command, frames_and_sound, tiny_model_folder
from .figures import Effort, Figure, timed
from .kills import digest


def figures(effort: Effort) -> Iterator[Figure]:
    if effort.name != "test":
        with tempfile.TemporaryDirectory() as folder:
            yield _one_file(Path(folder), rounds=max(1, effort.kills // 10))
    with tempfile.TemporaryDirectory() as folder:
        yield _one_folder(Path(folder))
    yield _one_process(rounds=max(1, effort.kills // 10))


def generate(folder: Path, model: Path, seed: int, name: str) -> None:
    status, _, errors = command(
        "generate", folder / "clip.mp4", "-o", folder / name, "--model", model, "--duration", "0.5", "--steps", "1",
        "--seed", str(seed),
    )  # fmt: skip
    assert status == 0, errors


def _one_file(folder: Path, rounds: int) -> Figure:
    from synthetic_clips import noise, write_video

    write_video(folder / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000))
    model = tiny_model_folder(folder)
    with timed("two generations to one file: one of the two, whole") as figure:
        alone = set()
        for seed in (1, 2):
            end = apart(generate, folder, model, seed, f"alone-{seed}.mp4")
            figure.expect(not end.trouble, end.trouble)
            alone.add(digest(folder / f"alone-{seed}.mp4"))
        for _ in range(rounds):
            both = [start(generate, folder, model, seed, "both.mp4") for seed in (1, 2)]
            for process in both:
                process.join(300)
                figure.expect(process.exitcode == 0, f"one of the two ended with {process.exitcode}")
            figure.expect(digest(folder / "both.mp4") in alone, "the file is neither of the two")
            figure.expect(frames_and_sound(folder / "both.mp4") == (4, 8000), "the file is not whole")
        figure.expect(not list(folder.glob(".*part*")), "unfinished files are left")
        figure.tried = f"{rounds} times two processes"
    return figure


def _one_folder(folder: Path) -> Figure:
    from tiny_clips import RandomClips, quick_config
    from tiny_model import make_tiny_joint_model

    import train.train as program
    from con360.errors import InputError

    refused: list[str] = []

    def second(progress: Any) -> None:
        # Called within a step of the first training.
        try:
            program.train(config, make_tiny_joint_model(0), say=lambda line: None)
        except InputError as error:
            refused.append(str(error))

    config = quick_config(folder, steps=2)
    with timed("two trainings to one folder: the second is refused by name") as figure:
        usual, program._source = program._source, lambda *_: RandomClips(5)
        try:
            program.train(config, make_tiny_joint_model(0), say=lambda line: None, on_step=second)
            figure.expect(len(refused) == 2 and "another run is writing" in refused[0], f"not refused: {refused}")
            # Once the first training has ended, the next one is free to run.
            program.train(config, make_tiny_joint_model(0), say=lambda line: None)
        finally:
            program._source = usual
        figure.tried, figure.outcome = "2 attempts beside a running one", "refused; the first one ended well"
    return figure


def _one_process(rounds: int) -> Figure:
    """Generate on several threads, as a server might; ComfyUI itself runs one prompt after the other."""
    import torch
    from tiny_model import make_tiny_joint_model

    from .determinism import conditions, make

    with timed("two clips at once in one process: each as if it were alone") as figure:
        model, given = make_tiny_joint_model(0), conditions()
        alone = {seed: make(model, given, seed) for seed in (1, 2)}
        for _ in range(rounds):
            made: dict[int, Any] = {}

            def work(seed: int, made: dict[int, Any] = made) -> None:
                made[seed] = make(model, given, seed)

            threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(300)
            for seed, clip in alone.items():
                same = seed in made and all(torch.equal(a, b) for a, b in zip(clip, made[seed], strict=True))
                figure.expect(same, f"seed {seed} differs beside another clip")
        figure.tried = f"{rounds} times two threads"
    return figure
