"""Read captions, pictures and sounds by PE-AV, prepared as its processors do, in torch.

It has one vector of a sound and one of a picture, and captions have a head for each. Their mean stands for the caption
where all three are compared at once; that is ours.

Shape legend: B clips, F frames, S samples, D vector.

Source: PE-AV (Perception Encoder Audiovisual), transformers' `PeAudioVideoModel`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..sound.resampling import resample_by_sinc
from ..weights.transformers_folder import check_folder, load_network, read_settings
from .captions import checked_captions
from .pixels import normalised, resized

ROLE, MODEL_TYPE = "pe-av", "pe_audio_video"
# Captions to numbers of their tokens, and the mask that tells them from padding, `[B, L]` each.
Tokens = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
MOST_TOKENS = 512


class PeAvMeaning:
    """PE-AV as an encoder (`protocols.MeaningEncoder`, `protocols.PairTexts`).

    Args:
        network: `PeAudioVideoModel`; its sound encoder is opened for gradients.
        settings: of its processors: `processor_config.json`.
        name: for records.
    """

    shared = True

    def __init__(self, network: Any, tokens: Tokens, settings: dict[str, Any], name: str = ROLE) -> None:
        self.network, self.tokens, self.name = network, tokens, name
        encoder = network.audio_model.audio_encoder
        encoder.embedder = _OpenEmbedder(encoder.embedder)
        sound, picture = settings["feature_extractor"], settings["video_processor"]
        self.rate_hz, self.hop = int(sound["sampling_rate"]), int(sound["hop_length"])
        self.size = int(picture["size"]["height"]), int(picture["size"]["width"])
        self.mean, self.std = picture["image_mean"], picture["image_std"]
        self.frames: int | None = picture.get("num_frames")

    def read_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to the mean of both heads' unit vectors, itself a unit one, `[B, D]`."""
        return F.normalize(torch.stack(self.read_pair_texts(captions)).mean(0), dim=-1)

    def read_pair_texts(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to vectors for sounds and for pictures, `[B, D]` each."""
        ids, mask = (t.to(self._device) for t in self.tokens(checked_captions(captions)))
        read = self.network.text_model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        first = read.hidden_states[-1][:, 0]
        heads = self.network.audio_model.text_audio_head, self.network.video_model.text_video_head
        return F.normalize(heads[0](first), dim=-1), F.normalize(heads[1](first), dim=-1)

    def read_picture(self, frames: Tensor, fps: float) -> Tensor:
        """Frames `[B, F, 3, H, W]` in [0, 1] to `[B, D]`; its networks are not told the frame rate."""
        if self.frames:
            last = frames.shape[1] - 1
            frames = frames[:, [int(i * last / max(self.frames - 1, 1)) for i in range(self.frames)]]
        pixels = normalised(resized(frames.flatten(0, 1), *self.size, "bilinear"), self.mean, self.std)
        read = self.network.video_model.video_encoder(pixel_values_videos=pixels.unflatten(0, frames.shape[:2]))
        return F.normalize(self.network.video_model.video_head(read.pooler_output), dim=-1)

    def read_sound(self, sound: Tensor, rate_hz: int) -> Tensor:
        """Mono sound `[B, S]` in [-1, 1] to `[B, D]`; its end is mirrored up to a whole hop."""
        sound = sound if rate_hz == self.rate_hz else resample_by_sinc(sound, rate_hz, self.rate_hz)
        missing = -sound.shape[1] % self.hop
        if sound.shape[1] <= missing:
            raise InputError(f"a sound of {sound.shape[1]} samples is too short for PE-AV; give {self.hop} or more.")
        sound = F.pad(sound, (0, missing), mode="reflect")
        read = self.network.audio_model.audio_encoder(input_values=sound[:, None])
        return F.normalize(self.network.audio_model.audio_head(read.pooler_output), dim=-1)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


class _OpenEmbedder(nn.Module):
    """The embedder of sounds without transformers' `no_grad`, which would stop guidance."""

    def __init__(self, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, input_values: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        own: Any = self.embedder
        codes = own.bottleneck(own.dac_encoder(input_values))
        return own.data_proj(codes.transpose(1, 2)), padding_mask


def load_pe_av(folder: str | Path, device: torch.device | str = "cpu") -> PeAvMeaning:
    """Load PE-AV from a local folder as transformers writes it.

    Raises:
        InputError: the folder holds another model or lacks a part of it, or transformers or timm is missing or too old.
    """
    config, path = check_folder(folder, ROLE), Path(folder).expanduser()
    if config.get("model_type") != MODEL_TYPE:
        raise InputError(f"the folder {folder} holds a {config.get('model_type')}; wanted PE-AV ({MODEL_TYPE}).")
    import transformers

    if not hasattr(transformers, "PeAudioVideoModel"):
        raise InputError(
            f"transformers {transformers.__version__} does not know PE-AV; install a newer one (pip install -U "
            "transformers)."
        )
    if importlib.util.find_spec("timm") is None:
        raise InputError("PE-AV's pictures are read by timm, which is not installed; pip install timm.")
    network = load_network(path, transformers.PeAudioVideoModel, ROLE, torch.float32, device)
    return PeAvMeaning(network, _tokens(path), _settings(path), path.resolve().name)


def _tokens(folder: Path) -> Tokens:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise InputError(f"{folder} holds no readable tokenizer ({str(error).splitlines()[0][:160]}).") from error

    def tokens(captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        read = tokenizer(list(captions), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        return read["input_ids"], read["attention_mask"]

    return tokens


def _settings(folder: Path) -> dict[str, Any]:
    """Settings of both processors: of one file, or of one each as older folders have them."""
    whole = folder / "processor_config.json"
    if whole.is_file():
        settings = read_settings(whole, ROLE)
        if {"feature_extractor", "video_processor"} <= settings.keys():
            return settings
    sound, picture = (
        read_settings(folder / name, ROLE) for name in ("preprocessor_config.json", "video_preprocessor_config.json")
    )
    return {"feature_extractor": sound, "video_processor": picture}
