"""Small random weights where the templates that need weights look for them, in the layouts as published."""

from __future__ import annotations

from pathlib import Path

import torch
from golden.runs_salvit import published_state
from published_layouts import write_svg_folder
from tiny_captioners import write_blip2, write_llama


def write_joint_model(models: Path) -> None:
    """Write `con360/svg`, all that con360_needs_weights_full_size needs."""
    write_svg_folder(models / "con360" / "svg")


def write_public_weights(models: Path) -> None:
    """Write all that con360_needs_weights_all_public needs. SalViT360 has its true size: its file names no other."""
    write_joint_model(models)
    (models / "con360_saliency").mkdir(parents=True)
    torch.save({"model": published_state("vst")}, models / "con360_saliency" / "salvit360.pt")
    write_blip2(models / "con360_captioner" / "blip2-opt-2.7b")
    write_llama(models / "con360_llm" / "Llama-3.2-1B-Instruct", positions=4096)
