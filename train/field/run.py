"""Train a direction head, or add one to a control file.

    python -m train.field.run out=runs/field/head.safetensors control=CONTROL.safetensors
    python -m train.field.run add CONTROL.safetensors HEAD.safetensors OUT.safetensors

Settings are given as name=value or --name value, over those of --config FILE. The first command writes the head, and
beside it a copy of the control that carries it. Ctrl-C and SIGTERM write a checkpoint; the same command resumes from
it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from con360.control.field_file import save_head
from con360.control.field_head import FieldConfig, FieldHead
from con360.control.file import add_head
from con360.errors import InputError
from con360.scenes import caption_vocabulary
from train.checkpoint import checkpoint_to_resume
from train.config import RunConfig, describe, read_arguments
from train.field.cache import build
from train.field.job import FieldJob, Scenes
from train.field.settings import FieldRunConfig
from train.field.words import learn_words
from train.loop import Loop, exit_status
from train.stage import Setup, train_stage


def setup_of(config: RunConfig, device: torch.device) -> Setup:
    """Make the job of a configuration; without a checkpoint to go on from, learn captions alone first.

    Raises:
        InputError: there is no control to add the head to.
    """
    assert isinstance(config, FieldRunConfig), "there is one kind of run"
    if config.control is not None and not config.control.is_file():
        raise InputError(f"there is no control file {config.control}; name one, or leave control out.")
    folder = config.scenes or config.folder
    folder.mkdir(parents=True, exist_ok=True)
    source, held_out = (
        Scenes(split, build(folder / f"scenes-{split}", split, count))
        for split, count in (("train", config.pool), ("validation", config.held_out))
    )
    head = FieldHead(FieldConfig(caption_vocabulary()))
    if checkpoint_to_resume(config) is None:
        learn_words(head.reading, head.config.words, config.word_steps, config.seed, print)
    job = FieldJob(config, head)
    return Setup(job, source, held_out, lambda path, loop, figures: _write(path, config, job, loop, figures))


def _write(path: Path, config: FieldRunConfig, job: FieldJob, loop: Loop, figures: dict[str, float]) -> None:
    record = {
        "data": "procedural", "scenes": config.pool, "steps": loop.progress.step, "seed": config.seed,
        "seconds": round(loop.progress.seconds), "validation": figures,
        "validation without sound": sum(loop.validate(bare=True).values()),
    }  # fmt: skip
    save_head(path, job.net.head, record)
    if config.control is not None:
        add_head(config.control, path, path.with_name("control.safetensors"))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nsettings:\n{describe(FieldRunConfig())}")
        return 0
    return exit_status(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] != ["add"]:
        train_stage(read_arguments(arguments, FieldRunConfig()), setup_of)
        return
    if len(arguments) != 4:
        raise InputError("add takes three files: the control, the head, and the file to write.")
    add_head(*arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main())
