"""SalViT360: a spherical vision transformer that predicts where people look in 360° video.

Shape legend: B windows, T frames of a clip, F = 8 frames of a window, N tangent patches, D = 512 channels.

Convention: the weights were trained on grids of their own; this file and `tangents.py` alone use them. Latitude is
positive downwards. Panorama and patches are sampled from corner to corner: the first and the last column both lie on
the seam, and nothing is interpolated across it. A patch "of f degrees" reaches f/2 *radians of plane*, so 80 are really
69.9 degrees. `salvit360_saliency` returns maps on the project's own grid.

Source: Cokelek et al., "Spherical Vision Transformer for 360-degree Video Saliency Prediction" (BMVC 2023, arXiv
2308.13004) and the behaviour of its published code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from ..geometry.erp import erp_angles
from ..records import Progress
from .tangents import (
    INPUT_SIZE,
    MAP_SIZE,
    PLACE_PX,
    SCALES,
    from_tangents,
    place_features,
    to_tangents,
)

OUTPUT_SIZE = (480, 960)
WINDOW = 8
WIDTH = 512
WINDOWS_AT_ONCE = 4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResidualBlock(nn.Module):
    """Two convolutions around a shortcut, as in ResNet-18."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


def resnet18_features() -> nn.Sequential:
    """ResNet-18 up to its last feature map: `[M, 3, 224, 224]` to `[M, 512, 7, 7]`."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    stages = [
        nn.Sequential(ResidualBlock(before, width, 1 if before == width else 2), ResidualBlock(width, width, 1))
        for before, width in zip(widths[:-1], widths[1:], strict=True)
    ]
    return nn.Sequential(*stem, *stages)


class SelfAttention(nn.Module):
    """Multi-head self-attention along the second last axis."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "... n (qkv heads c) -> qkv ... heads n c", qkv=3, heads=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "... heads n c -> ... n (heads c)"))


class SpaceTimeBlock(nn.Module):
    """Attention over the window's frames, then over the sphere's patches, then a feed-forward; `[B, F, N, D]`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_t, self.attn_t = nn.LayerNorm(width), SelfAttention(width, heads)
        self.norm_s, self.attn_s = nn.LayerNorm(width), SelfAttention(width, heads)
        self.norm_f = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        in_time = self.attn_t(rearrange(self.norm_t(x), "b f n d -> b n f d"))
        x = rearrange(in_time, "b n f d -> b f n d") + x
        x = self.attn_s(self.norm_s(x)) + x
        return self.ff(self.norm_f(x)) + x


class DecoderBlock(nn.Module):
    """Convolution in each patch, one norm over all patches together, and enlargement; `[B, N, C, h, w]`."""

    def __init__(self, channels_in: int, channels: int, num_patches: int, size: int, enlarge: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm = nn.LayerNorm([num_patches, channels, size, size])
        self.enlarge = enlarge

    def forward(self, x: Tensor) -> Tensor:
        num_patches = x.shape[1]
        x = self.conv(rearrange(x, "b n c h w -> (b n) c h w"))
        x = F.relu(self.norm(rearrange(x, "(b n) c h w -> b n c h w", n=num_patches)))
        if not self.enlarge:
            return x
        x = rearrange(x, "b n c h w -> (b n) c h w")
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return rearrange(x, "(b n) c h w -> b n c h w", n=num_patches)


# Channels of each decoder: the single-scale model enlarges three times, the two-scale one twice.
DECODER_CHANNELS = {1: (WIDTH, 128, 32, 8, 2), 2: (WIDTH, 128, 32, 2)}


class SalViT360(nn.Module):
    """The network; `num_scales` 1 is the published "VSTA" model, 2 the one trained with consistency ("VAC").

    Frames are encoded once (`encode`), windows of eight are then cheap (`decode`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_scales: int = 1, depth: int = 6, heads: int = 8):
        super().__init__()
        self.scales = SCALES[:num_scales]
        self.encoder = resnet18_features()
        self.encoder_norm = nn.LayerNorm([WIDTH, 7, 7])
        self.time = nn.Parameter(torch.zeros(1, WINDOW, WIDTH))
        self.place = nn.Linear(5 * PLACE_PX**2, WIDTH)
        self.blocks = nn.ModuleList([SpaceTimeBlock(WIDTH, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.decoders = nn.ModuleList([_decoder(DECODER_CHANNELS[num_scales], s.num_patches) for s in self.scales])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def variant(self) -> str:
        return "VSTA" if len(self.scales) == 1 else "VAC"

    def encode(self, frames: Tensor, scale: int = 0) -> tuple[Tensor, Tensor]:
        """Encode frames `[T, 3, 960, 1920]` in [0, 1]: (means `[T, N, D]`, maps `[T, N, D, 7, 7]`)."""
        patches = to_tangents((frames - self.mean) / self.std, self.scales[scale])
        maps = self.encoder(rearrange(patches, "t n c h w -> (t n) c h w"))
        maps = rearrange(maps, "(t n) d h w -> t n d h w", n=patches.shape[1])
        return maps.mean((-1, -2)), maps

    def attend(self, means: Tensor, scale: int = 0) -> Tensor:
        """Run the transformer over windows of frame features `[B, F, N, D]`; same shape."""
        places = place_features(self.scales[scale], means.device).to(means.dtype)
        place = self.place(rearrange(places, "n feature h w -> n (feature h w)"))
        x = means + place + self.time[:, :, None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def decode(self, means: Tensor, last_maps: Tensor, scale: int = 0) -> Tensor:
        """Predict maps `[B, 240, 480]` of windows' last frames from `[B, F, N, D]` and their own `[B, N, D, 7, 7]`."""
        seen = self.attend(means, scale)[:, -1, :, :, None, None]
        decoded = self.decoders[scale](seen + self.encoder_norm(last_maps))
        return from_tangents(decoded[:, :, 0].relu(), self.scales[scale])

    def forward(self, clip: Tensor) -> Tensor:
        """Predict the map of the last of eight frames, as published.

        Args:
            clip: `[8, 3, 960, 1920]` in [0, 1].

        Returns:
            `[480, 960]`, unnormalised, on the published corner-aligned grid (then enlarged by two).
        """
        maps = []
        for scale in range(len(self.scales)):
            encoded = [self.encode(frame[None], scale) for frame in clip]
            means = torch.cat([mean for mean, _ in encoded])
            maps.append(self.decode(means[None], encoded[-1][1], scale))
        mean = torch.stack(maps).mean(0)
        return F.interpolate(mean[None], size=OUTPUT_SIZE, mode="bilinear", align_corners=False)[0, 0]

    @torch.no_grad()
    def raw_maps(
        self, frames: Tensor, progress: Progress | None = None, *, windows_at_once: int = WINDOWS_AT_ONCE
    ) -> Tensor:
        """Predict one unnormalised map per frame, `[T, 240, 480]`, on the published grid.

        Every frame ends a window of eight; before the clip its first frame is repeated.

        Args:
            frames: `[T, 3, H, W]` in [0, 1], any size. progress: told after each frame is encoded.
            windows_at_once: changes memory alone.
        """
        total, device = len(self.scales) * len(frames), self.mean.device
        maps = torch.zeros(len(frames), *MAP_SIZE, device=device)
        for scale in range(len(self.scales)):
            means, lasts = [], []
            for t, frame in enumerate(frames):
                full = F.interpolate(frame[None].to(device), size=INPUT_SIZE, mode="bilinear", antialias=True)
                mean, last = self.encode(full, scale)
                means.append(mean)
                lasts.append(last)
                if progress is not None:
                    progress(scale * len(frames) + t + 1, total, "saliency")
            padded = torch.cat(means[:1] * (WINDOW - 1) + means)
            windows = rearrange(padded.unfold(0, WINDOW, 1), "t n d f -> t f n d")
            for start in range(0, len(frames), windows_at_once):
                part = slice(start, start + windows_at_once)
                maps[part] += self.decode(windows[part], torch.cat(lasts[part]), scale) / len(self.scales)
        return maps


def _decoder(channels: tuple[int, ...], num_patches: int) -> nn.Sequential:
    sizes = (7, 7, 14, 28)
    return nn.Sequential(
        *[
            DecoderBlock(before, after, num_patches, size, enlarge=i > 0)
            for i, (before, after, size) in enumerate(zip(channels[:-1], channels[1:], sizes, strict=False))
        ]
    )


# Published names to ours. `posemb` is left out: the published forward pass never calls it.
_RENAMES = (
    (r"^module\.", ""),
    (r"^feature_extractor\.", "encoder."),
    (r"^resnet_layernorm\.", "encoder_norm."),
    (r"^transformer\.layer\.", "blocks."),
    (r"^transformer\.norm\.", "norm."),
    (r"^transformer\.sph_posemb\.", "place."),
    (r"^transformer\.tmp_posemb$", "time"),
    (r"\.temp_norm_layer\.", ".norm_t."),
    (r"\.spatial_norm_layer\.", ".norm_s."),
    (r"\.temp_attn\.", ".attn_t."),
    (r"\.spatial_attn\.", ".attn_s."),
    (r"\.QKV\.", ".qkv."),
    (r"\.FFN\.0\.", ".norm_f."),
    (r"\.FFN\.1\.layers\.0\.", ".ff.0."),
    (r"\.FFN\.1\.layers\.3\.", ".ff.2."),
    (r"^decoder\.", "decoders.0."),
    (r"\.block\.0\.", ".conv."),
    (r"\.block\.1\.", ".norm."),
)


def convert_state_dict(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert published names and layouts: patches come first, and the convolution's extra axis goes."""
    ours = {}
    for name, value in published.items():
        if name.removeprefix("module.").startswith("posemb."):
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if name.startswith("decoders.") and ".conv.weight" in name:
            value = value.squeeze(-1)
        elif name.startswith("decoders.") and ".norm." in name:
            value = value.movedim(-1, 0)
        ours[name] = value
    return ours


def load_salvit360(path: str | Path, device: torch.device | str = "cpu") -> SalViT360:
    """Load the network with published weights; names in the file decide the variant.

    Convention: nothing is unpickled but tensors and plain containers; nothing is downloaded.

    Args:
        path: the published `.pt` (its `model` entry, or a bare state dict), or the same names in safetensors.

    Raises:
        InputError: no file, no readable weights, or weights of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no SalViT360 weights at {path}; give the published .pt file or one in safetensors.")
    published = _read_weights(path)
    ours = convert_state_dict(published)
    model = SalViT360(num_scales=2 if any(name.startswith("decoders.1.") for name in ours) else 1)
    expected = model.state_dict()
    wrong = sorted(set(expected) ^ set(ours)) or [n for n in expected if expected[n].shape != ours[n].shape]
    if wrong:
        raise InputError(
            f"{path.name} does not hold SalViT360 weights ({len(wrong)} names or shapes differ, first {wrong[0]!r}); "
            f"give the published .pt file or one in safetensors."
        )
    model.load_state_dict(ours)
    return model.eval().requires_grad_(False).to(device)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes the readers raise
        reason = type(error).__name__
        raise InputError(f"{path.name} cannot be read as weights ({reason}); give the published file.") from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path.name} holds no state dict; give the published SalViT360 file.")
    return dict(state)


def salvit360_saliency(
    model: SalViT360, frames: Tensor, height: int = 256, progress: Progress | None = None, *,
    windows_at_once: int = WINDOWS_AT_ONCE,
) -> Tensor:  # fmt: skip
    """Predict the saliency of a clip by SalViT360.

    Convention: one map per frame, on the project's grid of pixel centres, each brought to [0, 1] by its own minimum and
    maximum (ones where it is flat). The window of eight ends at the frame; before the clip its first frame is repeated.

    Args:
        frames: `[T, 3, H, W]` in [0, 1]. height: rows of the maps. progress: told after each frame.

    Returns:
        `[T, height, 2 height]` on the model's device.
    """
    raw = model.raw_maps(frames, progress, windows_at_once=windows_at_once)
    yaw, pitch = erp_angles(height, device=raw.device)
    y, x = torch.meshgrid(-pitch / 90.0, yaw / 180.0, indexing="ij")
    grid = torch.stack((x, y), dim=-1).expand(len(raw), -1, -1, -1)
    maps = F.grid_sample(raw[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    low, high = maps.amin((-1, -2), keepdim=True), maps.amax((-1, -2), keepdim=True)
    flat = high - low <= 1e-6 * high.abs().clamp_min(1e-6)
    return torch.where(flat, torch.ones_like(maps), (maps - low) / (high - low).clamp_min(1e-12))
