"""Read captions and sounds by CLAP, captions and pictures by CLIP: two spaces, for pairs with the caption alone.

Shape legend: B clips, F frames, S samples, D E vectors.

Source: LAION-CLAP (arXiv 2211.06687), CLIP (arXiv 2103.00020); both from transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..sound.resampling import resample_by_sinc
from ..weights.transformers_folder import check_folder, load_network, read_settings
from .captions import checked_captions
from .pieces import piece_means
from .pixels import middle, normalised, short_side

_FLOOR = 1e-10


class TwoSpacesMeaning:
    """CLAP and CLIP as one encoder (`protocols.MeaningEncoder`, `protocols.PairTexts`, `protocols.FrameMeaning`).

    Args:
        clap, clip: `ClapModel` and `CLIPModel`. tokenizers: of both. extractor: `ClapFeatureExtractor`, whose numbers
            and filters are used. pictures: CLIP's `preprocessor_config.json`.
    """

    name, shared = "clap+clip", False

    def __init__(
        self, clap: Any, clip: Any, tokenizers: tuple[Any, Any], extractor: Any, pictures: dict[str, Any]
    ) -> None:
        if extractor.truncation == "fusion":
            raise InputError(
                "this CLAP fuses random parts of a sound, so that its figures are chance; use "
                "laion/clap-htsat-unfused or another one without fusion."
            )
        self.clap, self.clip, self.tokenizers, self.extractor = clap, clip, tokenizers, extractor
        self.side_px = _side(pictures)
        self.mean, self.std = pictures["image_mean"], pictures["image_std"]

    def read_text(self, captions: Sequence[str]) -> Tensor:
        raise InputError(f"{self.name} has no one vector of a caption; compare its pairs.")

    def read_pair_texts(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to `[B, D]` for sounds, by CLAP, and `[B, E]` for pictures, by CLIP."""
        checked = list(checked_captions(captions))
        of_sound, of_picture = (
            _vector(model.get_text_features(**self._words(tokenizer, checked, model)))
            for model, tokenizer in zip((self.clap, self.clip), self.tokenizers, strict=True)
        )
        return of_sound, of_picture

    def _words(self, tokenizer: Any, captions: list[str], model: Any) -> Any:
        return tokenizer(captions, padding=True, truncation=True, return_tensors="pt").to(model.device)

    def read_frames(self, frames: Tensor) -> Tensor:
        """Frames `[F, 3, H, W]` in [0, 1] to `[F, E]`, by CLIP."""
        pixels = middle(short_side(frames, self.side_px, "bicubic"), self.side_px)
        return _vector(self.clip.get_image_features(pixel_values=normalised(pixels, self.mean, self.std)))

    def read_picture(self, frames: Tensor, fps: float) -> Tensor:
        """Frames `[B, F, 3, H, W]` in [0, 1] to the mean of their vectors, `[B, E]`."""
        read = self.read_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return F.normalize(read.mean(1), dim=-1)

    def read_sound(self, sound: Tensor, rate_hz: int) -> Tensor:
        """Mono sound `[B, S]` in [-1, 1] to `[B, D]`, by CLAP, in pieces of at most its longest sound."""
        rate = int(self.extractor.sampling_rate)
        sound = sound if rate_hz == rate else resample_by_sinc(sound, rate_hz, rate)

        def read(piece: Tensor) -> Tensor:
            longer = torch.zeros(len(piece), 1, dtype=torch.bool, device=piece.device)
            return _vector(self.clap.get_audio_features(input_features=self.mels(piece), is_longer=longer))

        return piece_means(sound, int(self.extractor.nb_max_samples), read)

    def mels(self, sound: Tensor) -> Tensor:
        """Log-mels `[B, 1, T, M]` of sounds no longer than CLAP's longest, repeated and padded to that."""
        own = self.extractor
        longest, count = int(own.nb_max_samples), sound.shape[1]
        if own.padding in ("repeat", "repeatpad"):
            sound = sound.repeat(1, longest // count + (own.padding == "repeat"))[:, :longest]
        sound = F.pad(sound, (0, longest - sound.shape[1]))
        window = torch.hann_window(own.fft_window_size, device=sound.device)
        spectrum = torch.stft(
            sound, own.fft_window_size, own.hop_length, window=window, pad_mode="reflect", return_complex=True
        )
        filters = torch.from_numpy(own.mel_filters_slaney).to(sound)
        power = spectrum.abs().square().transpose(1, 2) @ filters
        return 10 * power.clamp_min(_FLOOR).log10()[:, None]


def _vector(features: Any) -> Tensor:
    # transformers 5 wraps what version 4 returned bare.
    return F.normalize((features if isinstance(features, Tensor) else features.pooler_output).float(), dim=-1)


def _side(settings: dict[str, Any]) -> int:
    """Side of CLIP's picture: a number or a size, by which generation of transformers wrote it."""
    size = settings.get("crop_size", settings.get("size"))
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    if not isinstance(size, int) or size < 1:
        raise InputError(f"CLIP's preprocessor_config.json asks for pictures of {size}; wanted a number of pixels.")
    return size


def load_two_spaces(clap: str | Path, clip: str | Path, device: torch.device | str = "cpu") -> TwoSpacesMeaning:
    """Load CLAP and CLIP from local folders as transformers writes them.

    Raises:
        InputError: a folder is missing, or holds another model or a part of it.
    """
    import transformers

    folders = []
    for folder, role in ((clap, "clap"), (clip, "clip")):
        kind = check_folder(folder, role).get("model_type")
        if kind != role:
            raise InputError(f"the folder {folder} holds a {kind}; wanted a whole {role.upper()}, texts as well.")
        folders.append(Path(folder).expanduser())
    hearing = load_network(folders[0], transformers.ClapModel, "clap", torch.float32, device)
    looking = load_network(folders[1], transformers.CLIPModel, "clip", torch.float32, device)
    return TwoSpacesMeaning(
        hearing, looking, (_local(folders[0], "AutoTokenizer"), _local(folders[1], "AutoTokenizer")),
        _local(folders[0], "ClapFeatureExtractor"), read_settings(folders[1] / "preprocessor_config.json", "clip"),
    )  # fmt: skip


def _local(folder: Path, name: str) -> Any:
    import transformers

    try:
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many kinds for a damaged folder
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(f"{folder} holds no readable {name} ({reason}); get the folder again.") from error
