"""Read captions, pictures and sounds by the network that comes with a model, on the latents of that model.

Shape legend: B clips, F frames, S samples, D vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..control.directions import words_of
from ..control.file import fingerprint
from ..errors import InputError
from ..models.meaning_network import MeaningNetwork
from ..models.system import AVSystem
from ..records import Sound
from ..sound.resampling import resample_by_sinc
from ..weights.meaning import MEANING_FILE, load_meaning_network
from .captions import checked_captions
from .pieces import piece_means

BUILT_IN_MEANING, OWN = "built-in", "con360-meaning"


class BuiltInMeaning:
    """The network with the codecs whose latents it reads (`protocols.MeaningEncoder`, `protocols.LatentMeaning`).

    Args:
        network: trained on latents of the model. model: lends its codecs.
        name: for records.
    """

    shared = True

    def __init__(self, network: MeaningNetwork, model: AVSystem, name: str = OWN) -> None:
        self.network, self.model, self.name = network, model, name

    def read_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to `[B, D]`; words that scenes never have count as unknown."""
        words = [words_of(caption, self.network.config.words) for caption in checked_captions(captions)]
        padded = nn.utils.rnn.pad_sequence(words, batch_first=True)
        return self.network.text(padded.to(self._device))

    def read_picture(self, frames: Tensor, fps: float) -> Tensor:
        """Frames `[B, F, 3, H, W]` in [0, 1] to `[B, D]`, in pieces of at most the model's longest clip."""
        codec, spec = self.model.codecs.video, self.model.clip_spec(1.0)
        place = (torch.arange(max(1, round(frames.shape[1] * codec.fps / fps))) * (fps / codec.fps)).long()
        frames = frames[:, place.clamp_max(frames.shape[1] - 1)]
        size = (codec.size_px, codec.size_px)
        small = F.interpolate(frames.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
        small = small.unflatten(0, frames.shape[:2])

        def read(piece: Tensor) -> Tensor:
            return self.read_latents_v(torch.cat([codec.encode(one) for one in piece]))

        return piece_means(small, round(spec.longest_s * codec.fps), read)

    def read_sound(self, sound: Tensor, rate_hz: int) -> Tensor:
        """Mono sound `[B, S]` to `[B, D]`, in pieces of at most the model's longest clip."""
        codec, spec = self.model.codecs.audio, self.model.clip_spec(1.0)
        rate = codec.sample_rate_hz
        sound = sound if rate_hz == rate else resample_by_sinc(sound, rate_hz, rate)

        def read(piece: Tensor) -> Tensor:
            of = self.model.clip_spec(piece.shape[1] / rate)
            return self.read_latents_a(torch.cat([codec.encode(Sound(one[None], rate), of) for one in piece]))

        return piece_means(sound, round(spec.longest_s * rate), read)

    def read_latents_v(self, latents: Tensor) -> Tensor:
        """`[B, 4, T, h, w]` to `[B, D]`."""
        return self.network.picture(latents.to(self._device, torch.float32))

    def read_latents_a(self, latents: Tensor) -> Tensor:
        """`[B, 8, R, F]` to `[B, D]`."""
        return self.network.sound(latents.to(self._device, torch.float32))

    @property
    def _device(self) -> torch.device:
        return self.network.text.embedding.weight.device


def codecs_fingerprint(model: AVSystem) -> str:
    """Identify the networks whose latents an encoder reads; decoders and vocoders may change."""
    return fingerprint(*(codec.modules()[0] for codec in model.codecs))


def load_built_in(
    model: AVSystem, path: str | Path | None = None, *, kind: type[MeaningNetwork] = MeaningNetwork,
    name: str = "",
) -> BuiltInMeaning:  # fmt: skip
    """Load the network that lies in a model's folder.

    Args:
        path: a file of `train.meaning.run`; None is the model's own.
        kind: architecture that the file holds. name: for records; none is the file's, or that of the model's own.

    Raises:
        InputError: the folder has none, it cannot be used, or it reads latents of another model.
    """
    file = Path(getattr(model, "folder", "") or ".") / MEANING_FILE if path is None else Path(path)
    if path is None and not file.is_file():
        raise InputError(
            f"the model {model.name} has no {MEANING_FILE}, by which its meaning would be read; name another encoder, "
            "or train one with `python -m train.meaning.run encoder`."
        )
    network, codecs = load_meaning_network(file, model.device, kind)
    if codecs != codecs_fingerprint(model):
        raise InputError(
            f"{file.name} reads latents of another model than {model.name}; use the file that came with the model, or "
            "train one for it."
        )
    return BuiltInMeaning(network, model, name or (OWN if path is None else file.name))
