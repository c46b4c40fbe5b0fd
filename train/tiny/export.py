"""Export the trained tiny bundle in the published layout, to be loaded like any model folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from con360.control import fingerprint, load_control, save_control
from con360.errors import InputError
from con360.media.files import atomic_path
from con360.models.joint import JointModel
from con360.weights.load import load_joint_model, load_vocoder
from con360.weights.meaning import MEANING_FILE
from con360.weights.save import save_joint_model
from train.tiny.model import TinyModel
from train.tiny.networks import make_scheduler
from train.tiny.run import CHECKPOINT
from train.tiny.work import Places, load_codecs

NAME, VERSION = "con360-tiny", 4
# A package index takes larger files, a history does not forget them.
MOST_BYTES = 48_000_000
# Sampler defaults to store in the model's folder. shared_noise 1: all frames start from the same noise, as in
# training (SHARED_NOISE).
DEFAULTS = {"steps": 12, "cfg_video": 2.5, "cfg_audio": 2.0, "gamma": None, "shared_noise": 1.0}


def export_bundle(
    places: Places, bundle: Path, *, vocoder: Path | None = None, field: Path | None = None, baseline: bool = False
) -> None:
    """Write `out`'s last checkpoint and its codecs as a half-precision bundle with a control file.

    A meaning encoder beside the codecs comes along: it reads their latents.

    Args:
        vocoder: its folder; None is that of the codecs.
        field: file of the direction head to put into the control file; None writes none.
        baseline: the networks were trained further without maps, so there is no control to write.

    Raises:
        InputError: nothing was trained, a part is missing, or the bundle is larger than `MOST_BYTES`.
    """
    name = f"{NAME}-baseline" if baseline else NAME
    checkpoint, trained = _trained(places.out)
    vae_v, vae_a = load_codecs(places.codecs)
    model = JointModel(
        unet=trained.unet,
        vae_v=vae_v,
        vae_a=vae_a,
        vocoder=load_vocoder(vocoder or places.codecs / "vocoder"),
        tokenizer_v=trained.tokenizer,
        text_encoder_v=trained.text_v,
        tokenizer_a=trained.tokenizer,
        text_encoder_a=trained.text_a,
        scheduler_v=make_scheduler(),
        scheduler_a=make_scheduler(),
        name=name,
        metadata={
            "name": name,
            "version": VERSION,
            "picture_size_px": 64,
            "defaults": DEFAULTS,
            "trained_on": "procedural scenes (con360/scenes.py)",
            "draws": "coloured shapes of 64 px",
            "sound_ends": "cut",
        },
    )
    save_joint_model(model, bundle, dtype=torch.float16)
    _copy_meaning(places.codecs, bundle)
    if not baseline:
        _write_control(trained, bundle, checkpoint)
        if field is not None:
            _add_field(bundle, field)
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"bundle written to {bundle}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        raise InputError(
            f"the bundle in {bundle} has {size / 1e6:.1f} MB and may have {MOST_BYTES / 1e6:g}; export smaller parts."
        )


def _copy_meaning(codecs: Path, bundle: Path) -> None:
    encoder = codecs / MEANING_FILE
    if encoder.is_file() and codecs.resolve() != bundle.resolve():
        with atomic_path(bundle / MEANING_FILE) as temporary:
            shutil.copyfile(encoder, temporary)


def _add_field(bundle: Path, head: Path) -> None:
    from con360.control.file import add_head

    path = bundle / "control.safetensors"
    add_head(path, head, path)


def _trained(out: Path) -> tuple[dict[str, Any], TinyModel]:
    """The last checkpoint, and the networks with its average."""
    path = out / CHECKPOINT
    if not path.is_file():
        raise InputError(f"there is no {CHECKPOINT} in {out}; train a stage or join two runs first.")
    checkpoint = torch.load(path, weights_only=True)
    trained = TinyModel()
    trained.load_state_dict(checkpoint["average"])
    return checkpoint, trained.eval()


def _write_control(trained: TinyModel, bundle: Path, checkpoint: dict) -> None:
    # Half precision rounds the weights: compute the fingerprint from the stored ones.
    stored = load_joint_model(bundle)
    training = {
        "data": "procedural scenes",
        "stage": checkpoint["stage"],
        "steps": checkpoint["step"],
        "regime": "joint",
    }
    path = bundle / "control.safetensors"
    save_control(
        path, trained.control, base=NAME, base_fingerprint=fingerprint(stored.unet.unet_v, stored.unet.unet_a),
        training=training, saliency=checkpoint["saliency"], half=True,
    )  # fmt: skip
    load_control(path)
