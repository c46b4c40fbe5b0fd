"""Send kill -9 at random moments of a generation, a preparation and a training.

Afterwards a final name must hold nothing or a whole file. The next run must go on without losing or repeating work, and
its result must equal that of an undisturbed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .apart import End, apart, start
from .bad_files import frames_and_sound, tiny_model_folder
from .figures import Effort, Figure, timed

STEPS = 4


def figures(effort: Effort) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield _generations(Path(folder), effort.kills)
    if effort.name != "test":  # tests/train/test_train_resume.py and test_prepare_resume.py try the others
        with tempfile.TemporaryDirectory() as folder:
            yield _trainings(Path(folder), effort.kills)
        with tempfile.TemporaryDirectory() as folder:
            yield _preparations(Path(folder), effort.kills)


def _kill_at_random(work: Callable[..., None], arguments: tuple, longest_s: float, chance: random.Random) -> bool:
    """Start work and kill it within the time that it usually takes; return whether it was still running."""
    process = start(work, *arguments)
    process.join(longest_s * chance.random())
    was_running = process.is_alive()
    process.kill()
    process.join()
    return was_running


def _kill_in_the_write(work: Callable[..., None], arguments: tuple, out: Path, changes: int) -> bool:
    """Start work and kill it after so many changes of `out`: a random moment seldom hits the writing."""

    def names() -> dict[Path, tuple[int, int]]:
        found = {}
        with contextlib.suppress(FileNotFoundError):  # renamed between listing and stat
            for path in out.rglob("*"):
                found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
        return found

    seen = names()
    process = start(work, *arguments)
    while process.is_alive() and changes:
        if (now := names()) != seen:
            seen, changes = now, changes - 1
    was_running = process.is_alive()
    process.kill()
    process.join()
    return was_running


# Generation -----------------------------------------------------------------------------------------------------------


def generate(folder: Path, model: Path) -> None:
    """Generate half a second in two steps, with the picture of its conditions."""
    from .bad_files import command

    status, _, errors = command(
        "generate", folder / "clip.mp4", "-o", folder / "out" / "view.mp4", "--model", model, "--duration", "0.5",
        "--steps", "2", "--conditions", folder / "out" / "why.png",
    )  # fmt: skip
    assert status == 0, errors


def _generations(folder: Path, kills: int) -> Figure:
    from synthetic_clips import noise, write_video

    write_video(folder / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000))
    model, chance = tiny_model_folder(folder), random.Random(0)
    names = ("view.mp4", "why.png")
    with timed("generate killed at any moment: the whole file or none, and the next run gives it") as figure:
        longest, end = _timed_apart(generate, folder, model)
        figure.expect(not end.trouble, end.trouble)
        whole = {name: digest(folder / "out" / name) for name in names}
        hit = 0
        for i in range(kills):
            # Every other run replaces a file that is there.
            if chance.random() < 0.5:
                shutil.rmtree(folder / "out", ignore_errors=True)
            if i % 2:
                hit += _kill_at_random(generate, (folder, model), longest, chance)
            else:
                # The picture of the conditions makes the first two changes and is written at once.
                hit += _kill_in_the_write(generate, (folder, model), folder / "out", 3 + i // 2 % 4)
            for name in names:
                path = folder / "out" / name
                figure.expect(not path.exists() or digest(path) == whole[name], f"{name} is another file after a kill")
        end = apart(generate, folder, model)
        figure.expect(not end.trouble, f"the run after the kills: {end.trouble}")
        again = {name: digest(folder / "out" / name) for name in names}
        figure.expect(again == whole, "the run after the kills gives other files")
        figure.expect(frames_and_sound(folder / "out" / "view.mp4") == (4, 8000), "not all of the clip is there")
        figure.tried, figure.outcome = f"{kills} kills, {hit} in its work", "never half a file"
    return figure


def _timed_apart(work: Callable[..., object], *arguments: object) -> tuple[float, End]:
    """Run work in a process of its own; return the seconds, start of the process included, and its end."""
    began = time.perf_counter()
    end = apart(work, *arguments, timeout_s=600)
    return time.perf_counter() - began, end


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Training -------------------------------------------------------------------------------------------------------------


def train(folder: Path) -> bool:
    """Train a few steps with checkpoints, then write control file and model folder; return whether it resumed."""
    from unittest.mock import patch

    from tiny_clips import RandomClips, quick_config
    from tiny_model import make_tiny_joint_model

    import train.train as program

    config = quick_config(folder, steps=STEPS, checkpoint_every=1, keep=2, train="control+cmcpe")
    with patch.object(program, "_source", lambda *_: RandomClips(5)):
        said: list[str] = []
        program.train(config, make_tiny_joint_model(0), say=said.append)
    return any(line.startswith("going on from") for line in said)


def _trainings(folder: Path, kills: int) -> Figure:
    from con360.control import load_control
    from con360.weights.load import load_joint_model

    chance = random.Random(1)
    with timed("train killed at any moment: checkpoints load, it goes on, same weights in the end") as figure:
        longest, end = _timed_apart(train, folder / "whole")
        figure.expect(not end.trouble, end.trouble)
        wanted = _weights(folder / "whole")
        hit = 0
        run = folder / "killed"
        for i in range(kills):
            if i % 2:
                hit += _kill_at_random(train, (run,), longest, chance)
            else:
                hit += _kill_in_the_write(train, (run,), _config_folder(run) / "checkpoints", 1 + i // 2 % 8)
            figure.failures += _broken_checkpoints(run)
            for path, load in ((run / "control.safetensors", load_control), (_model(run), load_joint_model)):
                if path.exists():
                    figure.expect(_loads(load, path), f"{path.name} does not load after a kill")
            if _finished(run):
                figure.expect(_weights(run) == wanted, "finished with other weights")
                shutil.rmtree(run)
        begun = bool(_checkpoints(run))
        end = apart(train, run, timeout_s=300)
        figure.expect(end.value == begun, f"the run after the kills: went on {end.value}, had a checkpoint {begun}")
        figure.expect(not end.trouble, f"the run after the kills: {end.trouble}")
        figure.expect(_weights(run) == wanted, "the run after the kills gives other weights")
        figure.tried = f"{kills} kills, {hit} in its work"
        figure.outcome = "every checkpoint loads, same weights"
    return figure


def _config_folder(run: Path) -> Path:
    from tiny_clips import quick_config

    return quick_config(run).folder


def _model(run: Path) -> Path:
    return _config_folder(run) / "model"


def _checkpoints(run: Path) -> list[Path]:
    return sorted((_config_folder(run) / "checkpoints").glob("step-*"))


def _finished(run: Path) -> bool:
    # The control file is written last.
    return (run / "control.safetensors").exists() and (_model(run) / "control.safetensors").exists()


def _broken_checkpoints(run: Path) -> Iterator[str]:
    from train.checkpoint import read_config, read_state
    from train.config import TrainConfig

    for path in _checkpoints(run):
        try:
            read_state(path)
            read_config(path, TrainConfig())
            assert (path / "chance-0.pt").is_file(), "no generators"
        except Exception as error:
            yield f"{path.name} does not load after a kill: {error}"


def _loads(load: Callable[[Path], object], path: Path) -> bool:
    try:
        load(path)
    except Exception:
        return False
    return True


def _weights(run: Path) -> dict[str, str]:
    from safetensors.torch import load_file

    files = [run / "control.safetensors", *sorted(_model(run).rglob("*.safetensors"))]
    return {
        f"{file.relative_to(run)} {name}": hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()
        for file in files
        for name, t in load_file(file).items()
    }  # fmt: skip


# Preparation ----------------------------------------------------------------------------------------------------------


def _preparations(folder: Path, kills: int) -> Figure:
    from test_prepare_resume import SCENES, content_of, ends_of, run_prepare

    chance = random.Random(2)
    with timed("prepare killed at any moment: nothing lost, nothing doubled, same shards in the end") as figure:
        longest, end = _timed_apart(run_prepare, folder / "whole")
        figure.expect(not end.trouble, end.trouble)
        content, ends, out = content_of(folder / "whole"), ends_of(folder / "whole"), folder / "killed"
        hit = 0
        for _ in range(kills):
            hit += _kill_at_random(run_prepare, (out,), longest, chance)
            try:
                if any(out.rglob("*.parquet")):
                    found = content_of(out)
                    figure.expect(set(found) <= set(content), "examples that an undisturbed run does not make")
                    figure.expect(all(content[k] == v for k, v in found.items()), "examples of other content")
            except Exception as error:
                figure.failures.append(f"after a kill: {type(error).__name__}: {error}")
            if out.exists() and len(_done(out)) == SCENES:
                shutil.rmtree(out)
        end = apart(run_prepare, out, timeout_s=600)
        figure.expect(not end.trouble, f"the run after the kills: {end.trouble}")
        figure.expect((content_of(out), ends_of(out)) == (content, ends), "other shards than undisturbed")
        figure.expect(not list(out.rglob(".*.part*")), "unfinished files are left after the last run")
        figure.tried, figure.outcome = f"{kills} kills, {hit} in its work", "nothing lost or doubled"
    return figure


def _done(out: Path) -> list[str]:
    from test_prepare_resume import ends_of

    return [name for name, end in ends_of(out).items() if end == "done"]
