"""Run one stage of a model of Ambisonics: its picture encoder, its codec, or its transformer.

    python -m train.omniaudio.run pictures out=runs/omniaudio/pictures.safetensors
    python -m train.omniaudio.run codec out=runs/omniaudio/codec.safetensors minutes=30
    python -m train.omniaudio.run flow out=runs/omniaudio/flow.safetensors steps=4000

Settings are given as name=value or --name value, over those of --config FILE. `train/omniaudio.yaml` runs all stages.
Ctrl-C and SIGTERM write a checkpoint; the same command resumes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from con360.errors import InputError
from con360.media.files import atomic_path
from con360.models.oobleck import Oobleck
from con360.sounding.small_encoder import SmallEncoder
from train.config import PROCEDURAL, RunConfig
from train.omniaudio.cache import Fields, build, build_poor, whole_picture
from train.omniaudio.codec import CodecJob, new_codec
from train.omniaudio.fields import PreparedFields, SoundFields
from train.omniaudio.flow import FlowJob, close_unseen, load_flow, new_model, save_flow
from train.omniaudio.pictures import PicturesJob, SceneMoments
from train.omniaudio.settings import CODECS, FEATURES, RATES_HZ, SECONDS, CodecConfig, FlowConfig, PicturesConfig, Size
from train.omniaudio.sounds import SceneSounds, SoundFiles
from train.order import Source
from train.stage import OnStep, Setup, stage_command, train_stage

CONFIGS: dict[str, RunConfig] = {"pictures": PicturesConfig(), "codec": CodecConfig(), "flow": FlowConfig()}


def setup_of(config: RunConfig, device: torch.device) -> Setup:
    """Make the job of a configuration.

    Args:
        device: of a codec that encodes sounds while a flow learns.

    Raises:
        InputError: a file or folder that it names is missing or does not fit.
    """
    if isinstance(config, PicturesConfig):
        return _pictures(config)
    if isinstance(config, CodecConfig):
        return _codec(config)
    assert isinstance(config, FlowConfig), "there are three kinds of runs"
    return _flow(config, device)


def _pictures(config: PicturesConfig) -> Setup:
    source, held_out = SceneMoments("train", config.pool), SceneMoments("validation", config.held_out)
    job = PicturesJob(config)
    return Setup(job, source, held_out, lambda path, *_: save_weights(job.encoder, path))


def _codec(config: CodecConfig) -> Setup:
    if config.data == PROCEDURAL:
        if config.size != "small":
            raise InputError("procedural scenes sound at 16 kHz; choose size=small, or data=FOLDER of sound files.")
        source: Source = SceneSounds("train", config.pool)
        held_out: Source = SceneSounds("validation", config.held_out)
    else:
        rate, seconds = RATES_HZ[config.size], SECONDS[config.size]
        source, held_out = (SoundFiles(config.data, split, rate, seconds) for split in ("train", "validation"))
    vae = new_codec(config, source)
    return Setup(CodecJob(config, vae), source, held_out, lambda path, *_: save_weights(vae, path))


def _flow(config: FlowConfig, device: torch.device) -> Setup:
    codec = load_codec(config.size, config.codec).to(device)
    source, held_out, features = _fields(config, codec)
    model = new_model(codec, features, config.panorama, config.size)
    if config.init is not None:
        load_flow(model, config.init)
    close_unseen(model, config.branches)
    return Setup(FlowJob(config, model), source, held_out, lambda path, *_: save_flow(model, path))


def _fields(config: FlowConfig, codec: Oobleck) -> tuple[Source, Source, int]:
    """Training and held-out clips, and the number of features of a picture."""
    if config.data == PROCEDURAL:
        encoder = load_pictures(config.pictures)
        source, held_out = (
            _cached(config, encoder, codec, split, count)
            for split, count in (("train", config.pool), ("validation", config.held_out))
        )
        return source, held_out, encoder.width
    if config.train == "coarse":
        rate, seconds = RATES_HZ[config.size], SECONDS[config.size]
        files = [SoundFiles(config.data, split, rate, seconds) for split in ("train", "validation")]
        return SoundFields(files[0], codec), SoundFields(files[1], codec), FEATURES[config.size]
    shards = PreparedFields(config.data, "train", codec)
    return shards, PreparedFields(config.data, "validation", codec).first(config.held_out), shards[0].view.shape[-1]


def _cached(config: FlowConfig, encoder: SmallEncoder, codec: Oobleck, split: str, count: int) -> Fields:
    """Read or render a split's cache, which lies beside the codec: runs share it."""
    folder, held = config.codec.parent, "" if split == "train" else f"-{split}"
    if config.train == "coarse":
        return Fields(build_poor(folder / f"cache-coarse{held}", codec, split, count))
    eac = "-eac" if config.branches.startswith("eac") else ""
    stem = folder / f"cache-{config.voice_follows}{eac}{held}"
    return Fields(build(stem, encoder, codec, config.voice_follows, split, count, whole_picture(config.branches)))


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights."""
    with atomic_path(path) as temporary:
        save_file(network.state_dict(), temporary)


def load_codec(size: Size, path: Path) -> Oobleck:
    """Read the codec that a flow's latents belong to."""
    return _frozen(Oobleck(CODECS[size]), path, "codec")


def load_pictures(path: Path) -> SmallEncoder:
    """Read the small picture encoder."""
    return _frozen(SmallEncoder(), path, "picture encoder")


def _frozen(network: Any, path: Path, what: str) -> Any:
    if not path.is_file():
        raise InputError(f"there is no {what} {path}; run its stage first, or name another file.")
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(f"{path} is no {what} of this size; name another file.") from error
    return network.eval().requires_grad_(False)


def train(config: RunConfig, say: Callable[[str], None] = print, on_step: OnStep = None) -> dict[str, float]:
    """Train, and write the result (`train.stage.train_stage`)."""
    return train_stage(config, setup_of, say, on_step)


def main(argv: Sequence[str] | None = None) -> int:
    return stage_command(argv, CONFIGS, str(__doc__), train)


if __name__ == "__main__":
    raise SystemExit(main())
