"""Our SalViT360 over the recorded clips: each function gives {recorded name: our tensor}."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from con360.saliency.salvit360 import OUTPUT_SIZE, SalViT360, convert_state_dict
from con360.saliency.tangents import (
    INPUT_SIZE,
    MAP_SIZE,
    SCALES,
    from_tangents,
    inverse_weights,
    place_features,
    tangent_grid,
    to_tangents,
)

from .filler import clip_u8, fill, normal
from .store import published

CPU = torch.device("cpu")
Tensors = dict[str, Tensor]


@cache
def clip(name: str, frames: int) -> Tensor:
    """Bytes of a recorded clip, `[T, 3, 960, 1920]` uint8."""
    return torch.from_numpy(clip_u8(f"salvit/{name}", frames, *INPUT_SIZE))


def _pixels(frames: Tensor) -> Tensor:
    return frames.float() / 255


@cache
def published_state(variant: str) -> Tensors:
    """The recorded network's state dict under its published names, as far as the forward pass reads it."""
    prefix = published()["salvit360"][variant]["prefix"]
    return {name: torch.tensor(0) if name.endswith("num_batches_tracked") else fill(prefix + name, shape)
            for name, shape in published_shapes(variant).items()}  # fmt: skip


_STARTS = (
    ("encoder_norm.", "resnet_layernorm."), ("encoder.", "feature_extractor."), ("blocks.", "transformer.layer."),
    ("norm.", "transformer.norm."), ("place.", "transformer.sph_posemb."),
)  # fmt: skip
_INSIDE = (
    (".norm_t.", ".temp_norm_layer."), (".norm_s.", ".spatial_norm_layer."), (".attn_t.", ".temp_attn."),
    (".attn_s.", ".spatial_attn."), (".qkv.", ".QKV."), (".norm_f.", ".FFN.0."), (".ff.0.", ".FFN.1.layers.0."),
    (".ff.2.", ".FFN.1.layers.3."),
)  # fmt: skip


def published_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Published names and shapes of our network's weights, written the other way round than `convert_state_dict`."""
    with torch.device("meta"):
        model = SalViT360(1 if variant == "vst" else 2)
    shapes = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if name.startswith("decoders."):
            shape = (*shape, 1) if ".conv.weight" in name else (*shape[1:], shape[0]) if ".norm." in name else shape
            name = name.replace(".conv.", ".block.0.").replace(".norm.", ".block.1.")
            name = name if variant == "vac" else name.replace("decoders.0.", "decoder.", 1)
        else:
            for ours, theirs in _INSIDE:
                name = name.replace(ours, theirs)
            start = next((pair for pair in _STARTS if name.startswith(pair[0])), ("", ""))
            name = start[1] + name.removeprefix(start[0])
        shapes["transformer.tmp_posemb" if name == "time" else name] = shape
    return shapes


@cache
def network(variant: str) -> SalViT360:
    model = SalViT360(1 if variant == "vst" else 2).eval().requires_grad_(False)
    model.load_state_dict(convert_state_dict(published_state(variant)))
    return model


@cache
def geometry(index: int) -> Tensors:
    layout = SCALES[index]
    grid = tangent_grid(layout, CPU)
    noise = normal(f"salvit/p2e/scale{index}", 1, 2, 28, 28, layout.num_patches)
    maps = from_tangents(noise[0].permute(0, 3, 1, 2), layout)
    first = (_pixels(clip("clip", 8)[:1]) - network("vst").mean) / network("vst").std
    patches = to_tangents(first, layout)[0]
    pixel, _, weight = inverse_weights(layout)
    total = torch.zeros(math.prod(MAP_SIZE), dtype=weight.dtype).index_add_(0, pixel, weight)
    results = {
        "center_p": layout.centers() / torch.tensor([torch.pi, torch.pi / 2], dtype=torch.float64),
        "grid_stride16": grid[:, ::16, ::16],
        "grid_corners": torch.stack([grid[:, i, j] for i in (0, -1) for j in (0, -1)], dim=1),
        "sph_coords": place_features(layout, CPU),
        "p2e_out_stride2": maps[None, :, ::2, ::2],
        "p2e_weight_sum_stride4": total.view(MAP_SIZE)[::4, ::4],
        "tangents_frame0_stride16": patches[:, :, ::16, ::16].permute(1, 2, 3, 0),
        "tangents_frame0_patch5_stride4": patches[5, :, ::4, ::4],
    }
    return {f"salvit360/geom/scale{index}/{name}": t.float() for name, t in results.items()}


@cache
@torch.no_grad()
def features(variant: str, scale: int) -> tuple[Tensor, Tensor]:
    """(means of eight frames, maps of the last) of the recorded clip."""
    frames = [network(variant).encode(_pixels(frame[None]), scale) for frame in clip("clip", 8)]
    return torch.cat([mean for mean, _ in frames]), frames[-1][1]


@cache
@torch.no_grad()
def prediction(variant: str) -> Tensors:
    """The network's stages and its map for one window of eight frames."""
    model, results, maps = network(variant), {}, []
    for k, layout in enumerate(model.scales):
        means, last = features(variant, k)
        seen = model.attend(means[None], k)[0]
        decoded = model.decoders[k](seen[None, -1, :, :, None, None] + model.encoder_norm(last))[0, :, 0].relu()
        maps.append(model.decode(means[None], last, k)[0])
        torch.testing.assert_close(maps[-1], from_tangents(decoded[None], layout)[0])
        results |= {
            f"pooled{k}_frames0_7": means[[0, 7]], f"resnet{k}_last_frame_patch0": last[0, 0],
            f"transformer{k}_first_frame": seen[0], f"transformer{k}_last_frame": seen[-1],
            f"decoder{k}_ch0_stride4": decoded[:, ::4, ::4].permute(1, 2, 0),
            f"decoder{k}_ch0_patches0_5": decoded[[0, 5]].permute(1, 2, 0),
        }  # fmt: skip
        if variant == "vac":
            results[f"p{k}_erp240x480_stride2"] = maps[k][None, None, ::2, ::2]
    full = F.interpolate(torch.stack(maps).mean(0)[None, None], size=OUTPUT_SIZE, mode="bilinear")
    results["pred_stride4"] = full[..., ::4, ::4]
    if variant == "vac":
        # The published consistency of its two maps; nothing of ours uses their product, the maps are.
        one, two = F.interpolate(torch.stack(maps)[:, None], size=OUTPUT_SIZE, mode="bilinear")
        results["late_fusion_product_f16_stride4"] = (one * two)[None, :, ::4, ::4]
    return {f"salvit360/{variant}/{name}": value for name, value in results.items()}


@cache
def sliding() -> tuple[Tensors, int]:
    """Maps of the frames that the published sliding window reaches, and how many frames were encoded for it."""
    model, counted = network("vst"), []
    hook = model.encoder.register_forward_pre_hook(lambda _, args: counted.append(len(args[0])))
    maps = model.raw_maps(_pixels(clip("clip16", 16)))
    hook.remove()
    full = F.interpolate(maps[:, None], size=OUTPUT_SIZE, mode="bilinear")[:, 0]
    return {"salvit360/vst/sliding16_stride8": full[7:15, ::8, ::8]}, sum(counted)
