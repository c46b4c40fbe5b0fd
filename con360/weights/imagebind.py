"""Read ImageBind's file; sizes are read off its weights."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..errors import InputError
from ..models.imagebind import HEAD_WIDTHS, ImageBind, ImageBindConfig
from .files import State, problems_of, read_tensors, short
from .kinds import IMAGEBIND, read_header_of

_PARTS = re.compile(r"modality_(preprocessors|trunks|heads)\.(vision|text|audio)\.")


def load_imagebind(path: str | Path, device: torch.device | str = "cpu") -> ImageBind:
    """Read the networks of captions, pictures and sounds.

    Args:
        path: `imagebind_huge.pth` as published, or a safetensors made of it.

    Raises:
        InputError: there is no such file, another model is in it, or it is damaged.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path}; give ImageBind's own, imagebind_huge.pth.")
    read_header_of(path, IMAGEBIND, "the encoder")
    # The mask of captions is made anew.
    state = {
        name: t for name, t in read_tensors(path).items() if _PARTS.match(name) and not name.endswith(".text.mask")
    }
    try:
        with torch.device("meta"):
            network = ImageBind(_sizes(state))
    except (LookupError, ValueError) as error:
        raise InputError(f"{short(path)} tells no sizes ({error}): it is no whole ImageBind; get it again.") from error
    problems = list(problems_of(network.state_dict(), state))
    if problems:
        raise InputError(f"{short(path)} does not fit ImageBind: {'; '.join(problems[:3])}. Get it again.")
    network.load_state_dict({name: t.float() for name, t in state.items()}, assign=True)
    return network.to(device).eval().requires_grad_(False)


def _sizes(state: State) -> ImageBindConfig:
    blocks = tuple(
        len([n for n in state if re.fullmatch(rf"modality_trunks\.{name}\.blocks\.\d+\.norm_1\.weight", n)])
        for name in HEAD_WIDTHS
    )
    size, vision = state["modality_heads.vision.2.weight"].shape
    vocabulary, text = state["modality_preprocessors.text.token_embedding.weight"].shape
    audio = state["modality_heads.audio.2.weight"].shape[1]
    widths = (vision, text, audio)
    for (name, head), width in zip(HEAD_WIDTHS.items(), widths, strict=True):
        if width % head:
            raise ValueError(f"{name} is {width} wide, no multiple of {head}")
    return ImageBindConfig(widths, (blocks[0], blocks[1], blocks[2]), vocabulary, size)
