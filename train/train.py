"""Train the control module, or the whole joint model, on procedural scenes or prepared clips.

    python train/train.py                                         a first look: about 3 minutes on two CPU cores
    python train/train.py --config train/sphere360.yaml base=MODEL data=SHARDS      the paper's settings
    accelerate launch train/train.py --config ...                                   several GPUs and machines
    python train/train.py --config train/tiny.yaml                                  makes the built-in bundle again

Settings, given as name=value or --name value, override those of --config FILE. By default the two U-Nets and the
connectors are frozen (paper section 3.2), and the map encoder and the FiLM layers learn. The result is a safetensors
file for the Con360 Control Loader and `con360 generate --control`. Regimes that train more also write a model folder.
Ctrl-C and SIGTERM write a checkpoint; the same command resumes from it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# When run as a script, sys.path starts with this folder, where `train` would mean this file.
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

from con360.control import fingerprint, save_control  # noqa: E402
from con360.devices import describe_device  # noqa: E402
from con360.models.joint import JointModel  # noqa: E402
from con360.weights.find import model_folder  # noqa: E402
from con360.weights.load import load_joint_model  # noqa: E402
from con360.weights.save import save_joint_model  # noqa: E402
from train.checkpoint import RunProgress, checkpoint_to_resume  # noqa: E402
from train.config import PROCEDURAL, TrainConfig, describe, from_arguments  # noqa: E402
from train.dataset import Cached, PreparedShards, ProceduralScenes, SampleSource  # noqa: E402
from train.devices import make_accelerator  # noqa: E402
from train.joint_job import JointJob  # noqa: E402
from train.locks import hold  # noqa: E402
from train.loop import Loop, exit_status  # noqa: E402
from train.tiny.stages import run_stages  # noqa: E402
from train.trainee import control_settings, make_trainee, trained_sound  # noqa: E402

# Settings of a real training of the tiny control; the report estimates its time.
REAL = dict(steps=20_000, seconds=4, pool=2000, learning_rate=3e-4)


def train(
    config: TrainConfig,
    model: JointModel | None = None,
    say: Callable[[str], None] = print,
    on_step: Callable[[RunProgress], None] | None = None,
) -> dict[str, Any]:
    """Train; write the control file and, if the regime trains more, a model folder beside it.

    Args:
        config: the run.
        model: to train over, instead of loading `config.base`; changed in place if the regime trains its parts.
        say: prints a line for the user. on_step: called after each step.

    Returns:
        The training record, which the control file also holds.

    Raises:
        InputError: unusable settings, data or checkpoint, or another run is writing there.
        Interrupted: a signal ended the run.
    """
    accelerator = make_accelerator(config)
    with hold(config.folder, "--out") if accelerator.is_main_process else nullcontext():
        return _train(config, model, say if accelerator.is_main_process else lambda text: None, on_step, accelerator)


def _train(
    config: TrainConfig, model: JointModel | None, say: Callable[[str], None],
    on_step: Callable[[RunProgress], None] | None, accelerator: Any,
) -> dict[str, Any]:  # fmt: skip
    start = checkpoint_to_resume(config)
    torch.manual_seed(config.seed)
    model = model or load_joint_model(model_folder(config.base), device=accelerator.device)
    sound = trained_sound(config, model)
    net = make_trainee(model, config)
    source = _source(config, model, "train", config.pool, sound, accelerator)
    held_out = _source(config, model, "validation", config.held_out, sound, accelerator)
    say(f"device: {describe_device(accelerator.device)}")
    loop = Loop(config, JointJob(config, model, net), source, held_out, accelerator, say, on_step)
    before = loop.validate(bare=True)
    if start is not None:
        loop.load(start)
        say(f"going on from {start}: step {loop.progress.step}")
    progress = loop.run()
    with loop.averaged():
        record = _record(config, loop, source, before)
        if accelerator.is_main_process:
            _write(config, model, net.control, record)
            say(_report(config, record))
        accelerator.wait_for_everyone()
    model.unet.requires_grad_(False)
    assert progress.finished, "the loop ends when the run has used up its steps or its time"
    return record


def _source(
    config: TrainConfig, model: JointModel, split: str, count: int, sound: str, accelerator: Any
) -> SampleSource:
    if config.data != PROCEDURAL:
        shards = PreparedShards(model, config.data, split, config.spec(), sound)
        return shards.first(count) if split == "validation" else shards
    scenes = ProceduralScenes(
        model, split, count, config.spec(), sound, config.estimate_every, control_settings(model, config)
    )
    if not config.cache:
        return scenes
    # The first process renders; the others read its file.
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    with tqdm(
        total=count, desc=f"rendering {split} scenes", unit="clip", disable=not accelerator.is_main_process
    ) as bar:
        cached = Cached(scenes, config.folder / "cache", lambda done, total, what: bar.update(done - bar.n))
    if accelerator.is_main_process:
        accelerator.wait_for_everyone()
    return cached


def _record(config: TrainConfig, loop: Loop, source: SampleSource, before: dict[str, float]) -> dict[str, Any]:
    """Build the training record for the control file."""
    progress = loop.progress
    settings = {name: v for name, v in config.to_dict().items() if name not in ("out", "resume", "init", "stages")}
    return {
        **source.describe(), "regime": config.train, "steps": progress.step, "samples": progress.samples,
        "seconds": round(progress.seconds, 1), "processes": loop.accelerator.num_processes,
        "validation_clips": len(loop.held_out), "validation_before": before, "validation_after": loop.validate(),
        "config": settings,
    }  # fmt: skip


def _write(config: TrainConfig, model: JointModel, control: Any, record: dict[str, Any]) -> None:
    name = model.name
    folder = config.folder / "model"
    if config.train != "control":
        name = f"{model.name}+{config.train}"
        metadata = {**model.metadata, "name": name, "trained_on": record["data"]}
        if config.data != PROCEDURAL:
            metadata.pop("draws", None)  # describes the base's data, not this run's
        save_joint_model(replace(model, name=name, metadata=metadata), folder)
    if control is None:
        # Remove a stale control file; this run trained none.
        (folder / "control.safetensors").unlink(missing_ok=True)
        return
    base = fingerprint(model.unet.unet_v, model.unet.unet_a)
    for path in [config.out] + ([folder / "control.safetensors"] if config.train != "control" else []):
        save_control(path, control, base=name, base_fingerprint=base, training=record, saliency=record["saliency"])


def _report(config: TrainConfig, record: dict[str, Any]) -> str:
    before, after = record["validation_before"], record["validation_after"]
    folder = config.folder / "model"
    written = {"control": str(config.out), "baseline": str(folder)}.get(config.train, f"{config.out} and {folder}")
    use = f"--control {config.out}" if config.train == "control" else f"--model {folder}"
    lines = [
        f"wrote {written} after {record['steps']} steps in {record['seconds']:.0f} s",
        f"validation loss on {record['validation_clips']} unseen clips, before and without control -> now:",
        *(f"  {name:<7} {before[name]:.4f} -> {after[name]:.4f}" for name in ("picture", "sound")),
    ]
    if config.data == PROCEDURAL and config.train == "control" and record["steps"] < REAL["steps"]:
        lines += _real_training(config, record)
    return "\n".join([*lines, f"Use the result:  con360 generate INPUT -o OUT.mp4 {use}"])


def _real_training(config: TrainConfig, record: dict[str, Any]) -> list[str]:
    # Assume cost proportional to clip length; the real cost may be higher.
    per_step = record["seconds"] / record["steps"] * REAL["seconds"] / config.seconds
    given = " ".join(f"--{name} {value}" for name, value in REAL.items())
    return [
        f"This was a first look. A real training takes about {REAL['steps']} steps over {REAL['seconds']} s clips, "
        f"here about {REAL['steps'] * per_step / 3600:.0f} h:",
        f"  python train/train.py --out runs/real/control.safetensors {given}",
    ]


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nsettings:\n{describe(TrainConfig())}")
        return 0
    return exit_status(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    config = from_arguments(arguments)
    if config.stages:
        run_stages(config.stages, config.folder)
    else:
        train(config)


if __name__ == "__main__":
    raise SystemExit(main())
