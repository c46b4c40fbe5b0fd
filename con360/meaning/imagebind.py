"""Read captions, pictures and sounds by ImageBind, prepared as its code does, in torch.

Shape legend: B clips, F frames, S samples, D vector.

Source: ImageBind (arXiv 2305.05665). A sound is read in three parts of 2 s, a picture in five of 2 s with two frames
each and three squares of each frame; the parts' vectors are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..models.imagebind import BANDS, CONTEXT, FRAMES, SIDE_PX, ImageBind
from ..sound.fbank import kaldi_fbank
from ..sound.resampling import resample_by_sinc
from ..weights.find import clip_tokenizer, model_roots
from ..weights.imagebind import load_imagebind
from .captions import checked_captions
from .pixels import CLIP_MEAN, CLIP_STD, normalised, short_side

PART_S, SOUND_PARTS, PICTURE_PARTS = 2.0, 3, 5
RATE_HZ = 16000
# Mean and deviation of the filter banks that it learned from.
BANK_MEAN, BANK_STD = -4.268, 9.138

Tokens = Callable[[Sequence[str]], Tensor]


class ImageBindMeaning:
    """ImageBind as an encoder (`protocols.MeaningEncoder`); captions and sounds meet by way of pictures alone.

    Args:
        tokens: captions to tokens `[B, 77]`, zeros behind the end's, which is the highest.
    """

    name, shared = "imagebind", True

    def __init__(self, network: ImageBind, tokens: Tokens) -> None:
        self.network, self.tokens = network, tokens

    def read_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to `[B, D]`."""
        tokens = self.tokens(checked_captions(captions))
        return self.network.text(tokens.to(next(self.network.parameters()).device))

    def read_picture(self, frames: Tensor, fps: float) -> Tensor:
        """Frames `[B, F, 3, H, W]` in [0, 1] to `[B, D]`."""
        pairs = torch.cat([frames[:, [first, last]] for first, last in _pairs(frames.shape[1], fps)])
        small = short_side(pairs.flatten(0, 1), SIDE_PX, "bilinear")
        squares = torch.cat([normalised(square, CLIP_MEAN, CLIP_STD) for square in _squares(small)])
        read = self.network.picture(squares.unflatten(0, (-1, 2)).transpose(1, 2))
        return _mean(read, len(frames))

    def read_sound(self, sound: Tensor, rate_hz: int) -> Tensor:
        """Mono sound `[B, S]` in [-1, 1] to `[B, D]`."""
        sound = sound if rate_hz == RATE_HZ else resample_by_sinc(sound, rate_hz, RATE_HZ)
        if sound.shape[1] < RATE_HZ // 10:
            raise InputError(
                f"a sound of {sound.shape[1] / RATE_HZ:g} s is too short for ImageBind; give 0.1 s or more."
            )
        starts = part_starts(sound.shape[1] / RATE_HZ, SOUND_PARTS)
        parts = [sound[:, int(start * RATE_HZ) : int((start + PART_S) * RATE_HZ)] for start in starts]
        return _mean(self.network.sound(torch.cat([filter_banks(part) for part in parts])), len(sound))


def part_starts(seconds: float, parts: int) -> list[float]:
    """Starts in seconds of equally spaced parts of 2 s; they overlap in a short clip."""
    last = max(seconds - PART_S, 0.0)
    return [last * i / (parts - 1) for i in range(parts)]


def filter_banks(part: Tensor) -> Tensor:
    """Normalise filter banks of sounds at 16 kHz `[B, S]`: `[B, 1, 128, 204]`; zeros are appended before that."""
    banks = kaldi_fbank(part - part.mean(1, keepdim=True), RATE_HZ, BANDS).transpose(1, 2)[..., :FRAMES]
    banks = F.pad(banks, (0, FRAMES - banks.shape[-1]))
    return (banks[:, None] - BANK_MEAN) / BANK_STD


def _pairs(frames: int, fps: float) -> list[tuple[int, int]]:
    """First and last frame of each part of a picture."""
    found = []
    for start in part_starts(frames / fps, PICTURE_PARTS):
        first = min(round(start * fps), frames - 1)
        found.append((first, max(first, min(round((start + PART_S) * fps), frames) - 1)))
    return found


def _squares(frames: Tensor) -> list[Tensor]:
    """The squares at both ends and in the middle of the longer side; one where the frame is square."""
    height, width = frames.shape[-2:]
    over = max(height, width) - SIDE_PX
    offsets = dict.fromkeys((0, -(-over // 2), over))
    wide = width > height
    return [frames[..., :, at : at + SIDE_PX] if wide else frames[..., at : at + SIDE_PX, :] for at in offsets]


def _mean(vectors: Tensor, clips: int) -> Tensor:
    """Unit means of the parts' vectors, part by part `[P B, D]`, to `[B, D]`."""
    return F.normalize(vectors.unflatten(0, (-1, clips)).mean(0), dim=-1)


def load_imagebind_meaning(path: str | Path, device: torch.device | str = "cpu") -> ImageBindMeaning:
    """Load ImageBind from a user's file, and CLIP's vocabulary from a model folder.

    Raises:
        InputError: the file cannot be used, or there is no vocabulary.
    """
    network = load_imagebind(path, device)
    folder = clip_tokenizer(model_roots())
    if folder is None:
        raise InputError(
            "ImageBind reads captions in CLIP's tokens, and none of the model folders has CLIP's vocabulary; put an "
            "SD 1.5 folder or ComfyUI there (`con360 models` lists the folders)."
        )
    return ImageBindMeaning(network, clip_tokens(folder))


def clip_tokens(folder: Path) -> Tokens:
    """Turn captions into CLIP's tokens, by the vocabulary of a folder."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def tokens(captions: Sequence[str]) -> Tensor:
        ids = tokenizer(list(captions), truncation=True, max_length=CONTEXT)["input_ids"]
        return torch.stack([F.pad(torch.tensor(one), (0, CONTEXT - len(one))) for one in ids])

    return tokens
