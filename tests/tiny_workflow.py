"""A tiny untrained model and its control as files, and a workflow of half a second over them, for tests of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_model import make_tiny_joint_model

from con360.control import ControlConfig, ControlModule, fingerprint, save_control
from con360.weights.save import save_joint_model

SAMPLE = "[built-in sample]"


def write_model_files(models: Path) -> None:
    """Write `con360/random` and `con360_control/random.safetensors` below ComfyUI's models folder."""
    model = make_tiny_joint_model()
    save_joint_model(model, models / "con360" / "random")
    channels = {site: shape[0] for site, shape in model.site_shapes(model.clip_spec(0.5)).items()}
    torch.manual_seed(1)
    control = ControlModule(
        ControlConfig(
            channels, map_height=16, widths=(4, 8), strides=(2, 2), hidden=8, geometry="view", view_grid=4,
        )
    )  # fmt: skip
    for head in control.heads.values():
        # A fresh head is zero and would change nothing.
        torch.nn.init.normal_(head.linear.weight, std=0.5)
    (models / "con360_control").mkdir(parents=True, exist_ok=True)
    save_control(
        models / "con360_control" / "random.safetensors", control, base=model.name, training={},
        saliency="training-free", base_fingerprint=fingerprint(model.unet.unet_v, model.unet.unet_a),
    )  # fmt: skip


def tiny_workflow(control: bool = True, **inputs: Any) -> dict[str, Any]:
    """Return a prompt that takes half a second of the sample through every stage; `inputs` go to the sampler."""
    sampling = {
        "model": ["5", 0], "saliency": ["2", 0], "basd": ["3", 0], "caption": ["4", 0], "negative": "", "steps": 2,
        "seed": 7, "cfg_video": 2.0, "cfg_audio": 2.0, "saliency_strength": 1.0, "basd_strength": 1.0,
        "control_start": 0.0, "control_end": 1.0, **({"control": ["6", 0]} if control else {}), **inputs,
    }  # fmt: skip
    nodes = {
        "1": ("Load360Video", {"video": SAMPLE, "start": 0, "duration": 0.5, "fps": 8, "height": 64, "eye": "auto"}),
        "2": ("SalViT360Saliency", {"frames": ["1", 0], "method": "training-free (built in)"}),
        "3": ("CentroidToBASD", {
            "saliency": ["2", 0], "fps": ["1", 2], "choose_by": "centroid", "rank": 1, "mode": "still", "yaw": 0.0,
            "pitch": 0.0, "fov": 90.0, "normalization": "minmax"}),
        "4": ("CubemapCaption", {"frames": ["1", 0], "fps": ["1", 2], "text": "", "scene_caption": ["1", 3]}),
        "5": ("Con360ModelLoader", {"model": "random", "precision": "auto"}),
        "6": ("Con360ControlLoader", {"control": "random.safetensors"}),
        "7": ("JointAVSampler", sampling),
        "8": ("SaveVideo", {"video": ["7", 2], "filename_prefix": "test", "format": "auto", "codec": "auto"}),
        "9": ("PreviewImage", {"images": ["7", 0]}),
        "10": ("PreviewAudio", {"audio": ["7", 1]}),
    }  # fmt: skip
    return {key: {"class_type": kind, "inputs": values} for key, (kind, values) in nodes.items()}


def by_subject(prompt: dict[str, Any]) -> dict[str, Any]:
    """Rewire the tiny workflow as the shipped ones: all cues, views of subjects, maps of the control's own kind."""
    prompt["2"]["inputs"] |= {
        "method": "multi-cue (built in)", "audio": ["1", 1], "fps": ["1", 2], "faces": "auto", "control": ["6", 0],
    }  # fmt: skip
    prompt["3"]["inputs"]["choose_by"] = "subject"
    prompt["7"]["inputs"]["saliency"] = ["2", 1]
    return prompt
