"""Train the encoder of captions, pictures and sounds that comes with the built-in model, or a judge of it.

    python -m train.meaning.run encoder out=runs/meaning/meaning.safetensors
    python -m train.meaning.run judge out=runs/meaning/judge.safetensors

Settings are given as name=value or --name value, over those of --config FILE. `train/meaning.yaml` makes both, and
then prints their figures (`train.meaning.judge`). Ctrl-C and SIGTERM write a checkpoint; the same command resumes from
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from con360.meaning.built_in import codecs_fingerprint
from con360.models.joint import JointModel
from con360.models.meaning_network import MeaningConfig, MeaningNetwork
from con360.scenes import caption_vocabulary
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from con360.weights.meaning import save_meaning_network
from train.config import RunConfig
from train.loop import Loop
from train.meaning.job import MeaningJob
from train.meaning.judge_network import JudgeNetwork
from train.meaning.scenes import ScenesAsked, scenes
from train.meaning.settings import JudgeRunConfig, MeaningRunConfig
from train.stage import OnStep, Setup, stage_command, train_stage

CONFIGS: dict[str, RunConfig] = {"encoder": MeaningRunConfig(), "judge": JudgeRunConfig()}


def setup_of(config: RunConfig, device: torch.device) -> Setup:
    """Make the job of a configuration; scenes are encoded first, where they are not yet."""
    assert isinstance(config, MeaningRunConfig), "both runs are of this kind"
    model = load_joint_model(model_folder(config.base))
    folder = config.scenes or config.folder / "scenes"
    source = scenes(folder, ScenesAsked("train", config.first, config.pool), model)
    held_out = scenes(folder, ScenesAsked("validation", 0, config.held_out), model)
    kind = JudgeNetwork if isinstance(config, JudgeRunConfig) else MeaningNetwork
    # CPUs convolve faster so.
    job = MeaningJob(config, kind(network_config(config, model)).to(memory_format=torch.channels_last))
    codecs = codecs_fingerprint(model)
    return Setup(job, source, held_out, lambda path, loop, figures: _write(path, config, job, loop, figures, codecs))


def network_config(config: MeaningRunConfig, model: JointModel) -> MeaningConfig:
    """Sizes for the latents of a model."""
    spec = model.clip_spec(1.0)
    video, audio = model.latent_shapes(spec)
    return MeaningConfig(
        caption_vocabulary(), config.width, config.size, video[0], audio[0], audio[2], model.codecs.video.fps,
        model.codecs.audio.seconds_per_row,
    )  # fmt: skip


def _write(
    path: Path, config: MeaningRunConfig, job: MeaningJob, loop: Loop, figures: dict[str, float], codecs: str
) -> None:
    record = {
        "data": "procedural", "scenes": config.pool, "first": config.first, "steps": loop.progress.step,
        "seed": config.seed, "seconds": round(loop.progress.seconds), "validation": figures,
    }  # fmt: skip
    save_meaning_network(job.net.network, path, record, codecs)


def train(config: RunConfig, say: Callable[[str], None] = print, on_step: OnStep = None) -> dict[str, float]:
    """Train, and write the result (`train.stage.train_stage`)."""
    return train_stage(config, setup_of, say, on_step)


def main(argv: Sequence[str] | None = None) -> int:
    return stage_command(argv, CONFIGS, str(__doc__), train)


if __name__ == "__main__":
    raise SystemExit(main())
