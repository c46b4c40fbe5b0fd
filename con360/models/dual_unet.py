"""The video and the audio U-Net, run side by side with connectors between them.

Shape legend: B clips, T frames, h w latent rows and columns, R F mel latent rows and frequencies, L text tokens,
N = B * T, E time embedding.

diffusers supplies the blocks of both U-Nets; our own loop drives them, so that a connector behind a block can replace
its output and its last skip connection. Without connectors, or with zero-initialised ones, each U-Net computes what
diffusers' own forward does.

Source: SVG baseline (arXiv 2409.17550); paper section 2.2 for FiLM's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..protocols import Film
from ..records import AV
from ..residency import resident
from .connector_config import INPUTS
from .connectors import Connectors, CrossFeatures, fold_frames
from .cpu.feed_forward import by_rows
from .cpu.winograd import by_winograd
from .text_attention import TextMemory, share_text

# bridge(site, h) returns the features that go on in place of `h`, or None where nothing sits.
Bridge = Callable[[str, Tensor], Tensor | None]


class DualUNet(nn.Module):
    """Two U-Nets and the connectors between them.

    Args:
        unet_v: diffusers' UNetMotionModel.
        unet_a: diffusers' UNet2DConditionModel, text as a class embedding.
        connectors: None runs two independent U-Nets.
    """

    def __init__(self, unet_v: nn.Module, unet_a: nn.Module, connectors: Connectors | None = None) -> None:
        super().__init__()
        self.unet_v, self.unet_a, self.connectors = unet_v, unet_a, connectors
        share_text(unet_v)
        for unet in (unet_v, unet_a):
            by_rows(unet)
        by_winograd(self)

    groups = (("video",), ("audio",))

    @property
    def device(self) -> torch.device:
        return self.unet_v.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet_v.dtype

    @property
    def takes_film(self) -> bool:
        return self.connectors is not None

    def parts(self, group: tuple[str, ...] = ()) -> list[nn.Module]:
        """Networks that `predict` needs for a group, or `share` for none."""
        connectors = self.connectors
        if not group:
            return [] if connectors is None else [connectors.encoders]
        sites = {} if connectors is None else connectors.sites
        own = [module for name, module in sites.items() if name.startswith(group)]
        return [self._unet(*group), *own]

    def _unet(self, modality: str) -> nn.Module:
        return AV(self.unet_v, self.unet_a).get(modality)

    def embed_times(self, modality: str, times: Tensor, like: Tensor) -> Tensor:
        """`[S]` timesteps as a U-Net embeds them, `[S, E]`, on the device of `like`."""
        unet = self._unet(modality)
        with resident(like.device, unet.time_embedding):
            return time_embedding(unet, times, like.new_zeros(len(times), dtype=unet.dtype))

    def read(self, features: AV) -> AV:
        """Captions for all steps: `[B, L, D]` tokens of the picture, `[B, D]` of the sound."""
        return features._replace(video=None if features.video is None else TextMemory(features.video))

    def share(self, x: AV, t: AV, x0: AV, heard: tuple[str, ...]) -> CrossFeatures:
        """Encode what the modalities hear of each other; see `encode_cross`."""
        said = AV.of({m: x.get(m) for m in heard})
        return self.encode_cross(*said, *t, *x0)

    def predict(
        self, group: tuple[str, ...], x: AV, t: AV, features: AV, shared: CrossFeatures, film: Film | None
    ) -> AV:
        """Predictions for `("video",)` or `("audio",)`: noise or velocity, what the weights were trained for."""
        (m,) = group
        forward = AV(self.forward_video, self.forward_audio).get(m)
        return AV.of({m: forward(x.get(m), t.get(m), features.get(m), shared, film)})

    def encode_cross(
        self,
        x_v: Tensor | None,
        x_a: Tensor | None,
        t_v: Tensor | int | None = None,
        t_a: Tensor | int | None = None,
        x0_v: Tensor | None = None,
        x0_a: Tensor | None = None,
    ) -> CrossFeatures:
        """Encode each modality for the other. No text is read: under guidance one call serves all passes.

        Args:
            x_v, x_a: noisy latents `[B, c, T, h, w]` and `[B, c, R, F]`; None gives the other side no signal.
            t_v, t_a: timesteps, see `time_embedding`.
            x0_v, x0_a: previous estimates of the clean latents; None is zeros.
        """
        if self.connectors is None:
            return CrossFeatures(None, None)
        from_v = from_a = None
        if x_v is not None:
            from_v = self.connectors.encode("video", x_v, x0_v, time_embedding(self.unet_v, t_v, x_v))
        if x_a is not None:
            from_a = self.connectors.encode("audio", x_a, x0_a, time_embedding(self.unet_a, t_a, x_a))
        return CrossFeatures(into_video=from_a, into_audio=from_v)

    def forward(
        self,
        x_v: Tensor,
        x_a: Tensor,
        t_v: Tensor | int,
        t_a: Tensor | int,
        text_v: Tensor | TextMemory,
        text_a: Tensor,
        cross: CrossFeatures | None = None,
        film: Film | None = None,
        *,
        use_connectors: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Predict noise or velocity, as the weights were trained, for both modalities.

        Args:
            x_v, x_a: noisy latents `[B, c, T, h, w]` and `[B, c, R, F]`.
            t_v, t_a: timesteps, see `time_embedding`.
            text_v: `[B, L, D]` CLIP tokens; a `TextMemory` of them serves all steps.
            text_a: `[B, D]` CLAP embedding, unit norm.
            cross: from `encode_cross`, for this batch or for a part of it that repeats (guidance's halves).
            film: site to (scale, shift); missing sites and None change nothing.
            use_connectors: False runs the plain U-Nets.
        """
        out_v = self.forward_video(x_v, t_v, text_v, cross, film, use_connectors=use_connectors)
        out_a = self.forward_audio(x_a, t_a, text_a, cross, film, use_connectors=use_connectors)
        return out_v, out_a

    def forward_video(
        self,
        x_v: Tensor,
        t_v: Tensor | int,
        text_v: Tensor | TextMemory,
        cross: CrossFeatures | None = None,
        film: Film | None = None,
        *,
        use_connectors: bool = True,
    ) -> Tensor:
        """Predict the video half of `forward`; without `cross`, FiLM and the connectors' own attention still act."""
        frames, T = fold_frames(x_v)
        temb = repeat(time_embedding(self.unet_v, t_v, x_v), "b e -> (b t) e", t=T)
        bridge = self._bridge("video", T, cross.into_video if cross else None, film, use_connectors)
        text = text_v if isinstance(text_v, TextMemory) else TextMemory(text_v)
        out = run_blocks(self.unet_v, frames, temb, text, bridge, num_frames=T)
        return rearrange(out, "(b t) c h w -> b c t h w", t=T)

    def forward_audio(
        self,
        x_a: Tensor,
        t_a: Tensor | int,
        text_a: Tensor,
        cross: CrossFeatures | None = None,
        film: Film | None = None,
        *,
        use_connectors: bool = True,
    ) -> Tensor:
        """Predict the audio half of `forward`; without `cross` it gets no signal of the picture."""
        temb = time_embedding(self.unet_a, t_a, x_a)
        label = self.unet_a.class_embedding(text_a)
        temb = torch.cat([temb, label], dim=-1) if self.unet_a.config.class_embeddings_concat else temb + label
        bridge = self._bridge("audio", 1, cross.into_audio if cross else None, film, use_connectors)
        return run_blocks(self.unet_a, x_a, temb, None, bridge)

    def _bridge(self, modality: str, num_frames: int, context: Tensor | None, film: Film | None, on: bool) -> Bridge:
        def bridge(site: str, h: Tensor) -> Tensor | None:
            name = f"{modality}.{site}"
            own = film.get(name) if film and on else None
            if name in INPUTS:
                return None if own is None else modulated(h, own)
            connector = self.connectors.at(name) if on and self.connectors is not None else None
            return None if connector is None else connector(h, num_frames, context, own)

        return bridge

    def site_shapes(
        self, latent_v: tuple[int, int, int] | None = None, latent_a: tuple[int, int] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Derive the features' shape at each place of a control from configurations alone: connectors and inputs.

        Args:
            latent_v: (T, h, w) of the video latent; None leaves its sites out.
            latent_a: (R, F) of the audio latent; None leaves its sites out.

        Returns:
            Site to (C, T, h, w) or (C, R, F).
        """
        shapes: dict[str, tuple[int, ...]] = {}
        if latent_v is not None:
            shapes |= {f"video.{s}": (c, latent_v[0], *hw) for s, c, hw in _level_shapes(self.unet_v, latent_v[1:])}
            shapes["video.input"] = (self.unet_v.config.block_out_channels[0], *latent_v)
        if latent_a is not None:
            shapes |= {f"audio.{s}": (c, *hw) for s, c, hw in _level_shapes(self.unet_a, latent_a)}
            shapes["audio.input"] = (self.unet_a.config.block_out_channels[0], *latent_a)
        return shapes


def _level_shapes(unet: nn.Module, size: tuple[int, ...]) -> list[tuple[str, int, tuple[int, ...]]]:
    """List (site, channels, size) of the last two down blocks and the first two up blocks."""
    widths, sizes = unet.config.block_out_channels, [tuple(size)]
    for block in unet.down_blocks:
        halves = getattr(block, "downsamplers", None) is not None
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]) if halves else sizes[-1])
    down = [(f"down.{i}", widths[i], sizes[i + 1]) for i in (2, 3)]
    # An up block ends at the resolution of the skip that its successor reads.
    return down + [(f"up.{i}", widths[-1 - i], sizes[2 - i]) for i in (0, 1)]


def modulated(h_NChw: Tensor, film: tuple[Tensor, Tensor]) -> Tensor:
    """Apply `(1 + scale) * h + shift` of `[B, C, T, h, w]` to frames, of `[B, C, rows, 1 or freq]` to a sound."""
    scale, shift = (fold_frames(t)[0].to(h_NChw) for t in film)
    return h_NChw * (1 + scale) + shift


def time_embedding(unet: nn.Module, t: Tensor | int | None, like: Tensor) -> Tensor:
    """Embed timesteps as the U-Net does, without classes: `[B, E]`.

    Args:
        unet: either U-Net.
        t: a number, `[B]`, or an embedding `[1 or B, E]` made before, so that a schedule embeds its steps once.
        like: any tensor with the batch, device and dtype.
    """
    steps = torch.as_tensor(t, device=like.device)
    if steps.ndim == 2:
        return steps.expand(like.shape[0], -1)
    temb = unet.time_embedding(unet.time_proj(steps.expand(like.shape[0])).to(like.dtype))
    act = getattr(unet, "time_embed_act", None)
    return temb if act is None else act(temb)


def run_blocks(
    unet: nn.Module, h: Tensor, temb: Tensor, text: TextMemory | None, bridge: Bridge, **block_args: Any
) -> Tensor:
    """Drive a diffusers U-Net through its blocks.

    Args:
        unet: UNetMotionModel or UNet2DConditionModel.
        h: input `[N, c, h, w]`.
        temb: `[N, E]`.
        text: of the B clips, or None where the blocks attend to themselves.
        bridge: called behind the first convolution (`input`) and behind each down and up block; its return value
            replaces the features and, of a down block, the last skip connection too.
        block_args: for every block (`num_frames` of the motion U-Net).
    """
    h = unet.conv_in(h)
    bridged = bridge("input", h)
    h = h if bridged is None else bridged
    skips = (h,)
    for index, block in enumerate(unet.down_blocks):
        h, added = block(hidden_states=h, temb=temb, **_text_args(block, text), **block_args)
        bridged = bridge(f"down.{index}", h)
        if bridged is not None:
            h, added = bridged, (*added[:-1], bridged)
        skips += tuple(added)
    # Motion adapters of the first generation have no motion module in the middle.
    middle_args = block_args if hasattr(unet.mid_block, "motion_modules") else {}
    h = unet.mid_block(h, temb, encoder_hidden_states=text, **middle_args)
    for index, block in enumerate(unet.up_blocks):
        count = len(block.resnets)
        own, skips = skips[-count:], skips[:-count]
        size = skips[-1].shape[2:] if skips else None
        own_args = {"res_hidden_states_tuple": own, "upsample_size": size, **_text_args(block, text)}
        h = block(hidden_states=h, temb=temb, **own_args, **block_args)
        bridged = bridge(f"up.{index}", h)
        h = h if bridged is None else bridged
    if unet.conv_norm_out is not None:
        h = unet.conv_act(unet.conv_norm_out(h))
    return unet.conv_out(h)


def _text_args(block: nn.Module, text: TextMemory | None) -> dict[str, TextMemory | None]:
    return {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
