"""Train a direction head, or add one to a control file.

    python -m train.field.run out=runs/field/head.safetensors control=CONTROL.safetensors
    python -m train.field.run add CONTROL.safetensors HEAD.safetensors OUT.safetensors

Settings are given as name=value or --name value, over those of --config FILE. The first command writes the head, and
beside it a copy of the control that carries it. Ctrl-C and SIGTERM write a checkpoint; the same command resumes from
it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from con360.control.field_file import save_head
from con360.control.field_head import FieldConfig, FieldHead
from con360.control.file import add_head
from con360.errors import InputError
from con360.scenes import caption_vocabulary
from train.checkpoint import RunProgress, checkpoint_to_resume
from train.config import describe, read_arguments
from train.devices import make_accelerator
from train.field.cache import build
from train.field.job import FieldJob, Scenes
from train.field.settings import FieldRunConfig
from train.locks import hold
from train.loop import Loop, exit_status


def train(
    config: FieldRunConfig, say: Callable[[str], None] = print, on_step: Callable[[RunProgress], None] | None = None
) -> dict[str, float]:
    """Train, and write the head.

    Returns:
        Validation figures of the weights that were written.

    Raises:
        InputError: unusable settings or checkpoint, another run is writing there, or no control to add the head to.
        Interrupted: a signal ended the run.
    """
    if config.control is not None and not config.control.is_file():
        raise InputError(f"there is no control file {config.control}; name one, or leave control out.")
    accelerator = make_accelerator(config)
    with hold(config.folder, "--out") if accelerator.is_main_process else nullcontext():
        start = checkpoint_to_resume(config)
        torch.manual_seed(config.seed)
        folder = config.scenes or config.folder
        folder.mkdir(parents=True, exist_ok=True)
        source, held_out = (
            Scenes(split, build(folder / f"scenes-{split}", split, count))
            for split, count in (("train", config.pool), ("validation", config.held_out))
        )
        job = FieldJob(config, FieldHead(FieldConfig(caption_vocabulary())))
        loop = Loop(config, job, source, held_out, accelerator, say, on_step)
        if start is not None:
            loop.load(start)
            say(f"going on from {start}: step {loop.progress.step}")
        loop.run()
        return _finish(config, loop, job, say)


def _finish(config: FieldRunConfig, loop: Loop, job: FieldJob, say: Callable[[str], None]) -> dict[str, float]:
    with loop.averaged():
        figures = loop.validate()
        deaf = sum(loop.validate(bare=True).values())
        if loop.accelerator.is_main_process:
            record = {
                "data": "procedural", "scenes": config.pool, "steps": loop.progress.step, "seed": config.seed,
                "seconds": round(loop.progress.seconds), "validation": figures, "validation without sound": deaf,
            }  # fmt: skip
            save_head(config.out, job.net.head, record)
            if config.control is not None:
                add_head(config.control, config.out, config.out.with_name("control.safetensors"))
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            say(f"wrote {config.out} after {loop.progress.step} steps in {loop.progress.seconds:.0f} s; unseen: {said}")
        loop.accelerator.wait_for_everyone()
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nsettings:\n{describe(FieldRunConfig())}")
        return 0
    return exit_status(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] != ["add"]:
        train(read_arguments(arguments, FieldRunConfig()))
        return
    if len(arguments) != 4:
        raise InputError("add takes three files: the control, the head, and the file to write.")
    add_head(*arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main())
