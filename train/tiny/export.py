"""Export the trained tiny bundle in the published layout, to be loaded like any model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from con360.control import fingerprint, load_control, save_control
from con360.models.joint import JointModel
from con360.weights.load import load_joint_model, load_vocoder
from con360.weights.save import save_joint_model
from train.tiny.model import TinyModel
from train.tiny.networks import make_scheduler

NAME = "con360-tiny"
# Sampler defaults to store in the model's folder. shared_noise 1: all frames start from the same noise, as in
# training (SHARED_NOISE).
DEFAULTS = {"steps": 12, "cfg_video": 2.5, "cfg_audio": 2.0, "gamma": None, "shared_noise": 1.0}


def export_bundle(out: Path, codecs: Path, bundle: Path, baseline: bool = False) -> None:
    """Write `out`'s last checkpoint and these codecs as a half-precision bundle with a control file.

    Args:
        baseline: the networks were trained further without maps, so there is no control to write.
    """
    from diffusers import AutoencoderKL

    name = f"{NAME}-baseline" if baseline else NAME
    checkpoint = torch.load(out / "checkpoint.pt", weights_only=True)
    trained = TinyModel()
    trained.load_state_dict(checkpoint["average"])
    trained.eval()
    model = JointModel(
        unet=trained.unet,
        vae_v=AutoencoderKL.from_pretrained(codecs / "vae_v"),
        vae_a=AutoencoderKL.from_pretrained(codecs / "vae_a"),
        vocoder=load_vocoder(codecs / "vocoder"),
        tokenizer_v=trained.tokenizer,
        text_encoder_v=trained.text_v,
        tokenizer_a=trained.tokenizer,
        text_encoder_a=trained.text_a,
        scheduler_v=make_scheduler(),
        scheduler_a=make_scheduler(),
        name=name,
        metadata={
            "name": name,
            "picture_size_px": 64,
            "defaults": DEFAULTS,
            "trained_on": "procedural scenes (con360/scenes.py)",
            "draws": "coloured shapes of 64 px",
            "sound_ends": "cut",
        },
    )
    save_joint_model(model, bundle, dtype=torch.float16)
    if not baseline:
        _write_control(trained, bundle, checkpoint)
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"bundle written to {bundle}: {size / 1e6:.1f} MB")


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
