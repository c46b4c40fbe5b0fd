"""OmniAudio: the networks of one model that makes Ambisonics for a 360° video.

Source: OmniAudio (arXiv 2504.14906).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..protocols import Inputs
from ..records import AV, Conditions
from ..sampling.flow import FlowSchedule
from ..timing import ClipSpec
from .flow_transformer import FlowTransformer
from .oobleck import Oobleck
from .picture_features import PictureEmbedders, spread_over_rows
from .system import AVSystem
from .waveform_codec import WaveformCodec

PICTURE_FPS = 8.0
# Length that the published model was trained on.
TRAINED_S = 10.0
PanoramaUse = Literal["maximum", "per_frame"]
# Names under which conditions carry the pictures' features, `[T, F]` at PICTURE_FPS.
PANORAMA_SIGNAL, VIEW_SIGNAL = "panorama_features", "view_features"


@dataclass(frozen=True)
class OmniAudio(AVSystem):
    """All networks of the model but the picture encoder.

    Args:
        transformer, embedders, vae: its networks; `vae` stays in float32.
        trained_s: length that it was trained on.
        panorama: `maximum` keeps one token of all panorama pictures, as published, and forgets their order;
            `per_frame` adds each to the rows of its time.
        name: for people.
        metadata: what the file or folder says about itself; `defaults` are sampler settings.
        notices: sentences for people.
    """

    transformer: FlowTransformer
    embedders: PictureEmbedders
    vae: Oobleck
    sample_rate_hz: int = 44100
    trained_s: float = TRAINED_S
    panorama: PanoramaUse = "maximum"
    name: str = "OmniAudio"
    metadata: dict[str, Any] = field(default_factory=lambda: {"defaults": {"steps": 24, "cfg_audio": 3.0}})
    notices: tuple[str, ...] = ()

    @property
    def denoiser(self) -> FlowTransformer:
        return self.transformer

    @property
    def schedules(self) -> AV:
        return AV(audio=FlowSchedule())

    @property
    def codecs(self) -> AV:
        return AV(audio=self.codec)

    @property
    def codec(self) -> WaveformCodec:
        return WaveformCodec(self.vae, self.sample_rate_hz)

    def encoders(self) -> list[nn.Module]:
        return [self.embedders, self.transformer]

    def clip_spec(self, seconds: float) -> ClipSpec:
        hop = self.vae.config.hop
        return ClipSpec(
            seconds, PICTURE_FPS, self.sample_rate_hz, mel_hop=hop, latent_stride_a=1, latent_multiple_a=1,
            longest_s=self.trained_s,
        )  # fmt: skip

    def encode(self, conditions: Conditions, negative: str = "") -> Inputs:
        """Read the pictures' features of a clip's signals.

        Raises:
            InputError: the conditions carry none.
        """
        found = [conditions.signals.get(name) for name in (PANORAMA_SIGNAL, VIEW_SIGNAL)]
        if None in found:
            raise InputError(
                f"{self.name} reads features of pictures, and the conditions have none; add the signals "
                f"{PANORAMA_SIGNAL} and {VIEW_SIGNAL}."
            )
        panorama, view = (signal.values for signal in found if signal is not None)
        rows = self.codec.rows(len(view) / PICTURE_FPS)
        given, without = self.features(panorama, view, rows)
        return Inputs(AV(audio=given[None]), AV(audio=without[None]))

    def features(self, panorama: Tensor, view: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Join features of pictures `[K, F]` each to what the transformer reads, computed once a clip.

        Returns:
            With and without the view, `[1 + rows, W]` each. Without keeps the panorama's token: guidance strengthens
            the view alone, and what `per_frame` adds.
        """
        given, without = self.batch_features(panorama[None], view[None], rows)
        return given[0], without[0]

    def batch_features(self, panorama: Tensor, view: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """The same for clips of one length, `[B, K, F]` each."""
        device, dtype = self.device, self.dtype
        seen = self.embedders.panorama(panorama.to(device, dtype))
        added = spread_over_rows(self.embedders.view(view.to(device, dtype)), rows)
        if self.panorama == "maximum":
            token = self.transformer.panorama_token(seen)
        else:
            added = added + spread_over_rows(self.transformer.to_global_embed(seen), rows)
            token = torch.zeros_like(added[:, :1])
        return torch.cat((token, added), dim=1), torch.cat((token, torch.zeros_like(added)), dim=1)
