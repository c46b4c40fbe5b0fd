"""OmniAudio: guided steps beside the published code, a second seed, bfloat16, and FLOP.

The published way, re-created with our networks: each step lets the panorama's pictures through their layers and takes
the maximum, for both halves of the guided batch, makes the spline anew, and attends by explicit matrices. Where a clone
of the published code is at hand, that races instead. Both walk the same steps from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from con360.models import picture_features
from con360.models.cpu import linear
from con360.models.cpu.linear import quicken
from con360.models.flow_transformer import SIZES, FlowTransformer, FlowTransformerConfig
from con360.models.omniaudio import OmniAudio
from con360.models.oobleck import Oobleck
from con360.models.picture_features import PictureEmbedders, spread_over_rows
from con360.protocols import Inputs
from con360.records import AV
from con360.sampling.guidance import guide
from con360.sampling.joint import Given, sample_joint
from con360.sampling.settings import SamplerSettings
from con360.sounding.picture_encoder import ClipEncoder
from con360.weights.omniaudio import IN_FLOAT32

from .gpu.counting import count
from .published_omniaudio import PublishedTransformer
from .timing import Row, largest_difference, race

SMALL = FlowTransformerConfig(width=256, heads=4, depth=8)
SECONDS, PICTURES, FEATURES, STEPS, CFG = 10.0, 80, 1024, 24, 3.0
Forward = Callable[[Tensor, float, Tensor, Tensor], Tensor]


class Scenario:
    """A random model, features of the pictures of ten seconds, and ways to sample its latents."""

    def __init__(self, config: FlowTransformerConfig) -> None:
        self.model = random_model(config)
        generator = torch.Generator().manual_seed(1)
        self.panorama, self.view = (torch.randn(PICTURES, FEATURES, generator=generator) for _ in range(2))
        self.rows = self.model.codec.rows(SECONDS)
        self.noise = torch.randn(1, config.latent_channels, self.rows, generator=generator)

    def ours(self, steps: int) -> Tensor:
        """The clip's features, then the steps."""
        given, without = (f[None] for f in self.model.features(self.panorama, self.view, self.rows))
        settings = SamplerSettings(steps=steps, cfg_video=None, cfg_audio=CFG)
        inputs, noise = Inputs(AV(audio=given), AV(audio=without)), AV(audio=self.noise)
        shape = AV(audio=tuple(self.noise.shape[1:]))
        return sample_joint(
            self.model.denoiser, self.model.schedules, inputs, shape, settings, given=Given(noise=noise)
        ).audio  # fmt: skip

    def published(self, steps: int, forward: Forward) -> Tensor:
        """Euler steps as published: conditions are embedded once, everything else is the forward's."""
        embedders, x = self.model.embedders, self.noise
        panorama, view = embedders.panorama(self.panorama[None]), embedders.view(self.view[None])
        for i in range(steps):
            x = x - forward(x, 1 - i / steps, panorama, view) / steps
        return x

    def forwards(self, clone: Path | None) -> dict[str, Forward]:
        """The published code where there is a clone, else its way."""
        if clone is None:
            return {"published way, re-created": self.recreated}
        peer = PublishedTransformer(clone, self.model.transformer)
        return {"published code": lambda x, t, panorama, view: peer.guided(x, t, panorama, view, CFG)}

    def recreated(self, x: Tensor, t: float, panorama: Tensor, view: Tensor) -> Tensor:
        net = self.model.transformer
        token = net.panorama_token(torch.cat((panorama, panorama)))
        picture_features._spline.cache_clear()
        added = spread_over_rows(torch.cat((view, torch.zeros_like(view))), x.shape[-1])
        time = net.embed_times("audio", torch.full((2,), t), x)
        with _as_pytorch_chooses():
            both = net.velocity(torch.cat((x, x)), time, torch.cat((token, added), dim=1))
        given, without = both.chunk(2)
        return guide([without, given], (CFG,))


@contextmanager
def _as_pytorch_chooses() -> Iterator[None]:
    """Products by the library that PyTorch gives them to, attention by explicit matrices."""
    explicit = mock.patch.object(F, "scaled_dot_product_attention", _explicit_attention)
    with explicit, mock.patch.object(linear, "_at_hand", return_value=False):
        yield


def _explicit_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


def random_model(config: FlowTransformerConfig) -> OmniAudio:
    """Random weights of their usual size; the autoencoder stays on the meta device."""
    with torch.device("meta"):
        model = OmniAudio(FlowTransformer(config), PictureEmbedders(FEATURES, config.width), Oobleck())
    for network in (model.transformer, model.embedders):
        fill_at_random(network)
    return model


def fill_at_random(network: nn.Module) -> nn.Module:
    """Bring a network of the meta device to memory with random weights; gains are 1, shifts 0."""
    torch.manual_seed(0)
    state = {name: _random(name, t.shape) for name, t in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    # Constants that no file holds, such as the places of patches.
    for name, t in [(n, b) for n, b in network.named_buffers() if b.is_meta]:
        owner, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(owner), leaf, torch.arange(t.numel()).view(t.shape))
    return network.eval().requires_grad_(False)


def _random(name: str, shape: torch.Size) -> Tensor:
    if name.endswith("inv_freq"):
        return 10000.0 ** -(torch.arange(shape[0]) / shape[0])
    if name.endswith(("gamma", "weight_g", "beta")):
        return torch.full(shape, 0.0 if name.endswith("beta") else 1.0)
    bound = math.sqrt(3 / max(1, math.prod(shape[1:])))
    return torch.empty(shape).uniform_(-bound, bound)


# ---- races


def rows(rounds: int, published: Path | None = None) -> list[Row]:
    """A small model, float32."""
    print(f"{flop_table()}\n", flush=True)
    scenario = Scenario(SMALL)
    return _steps_beside(scenario, f"{SMALL.width} wide, {SMALL.depth} layers", 4, rounds, published, 1.3)


def full_size_rows(rounds: int, published: Path | None = None) -> list[Row]:
    """The published size with random weights: a guided step, a second seed, bfloat16."""
    rounds = min(rounds, 3)
    scenario = Scenario(SIZES["large"])
    made = _steps_beside(scenario, "published size", 1, rounds, published, 1.0)
    step_s = made[0].ours_s
    made.append(_half_row(scenario, step_s, rounds))
    del scenario
    return [*made, second_seed_row(step_s, rounds)]


def _steps_beside(
    scenario: Scenario, what: str, steps: int, rounds: int, clone: Path | None, target: float
) -> list[Row]:  # fmt: skip
    results: dict[str, Tensor] = {}

    def keep(name: str, run: Callable[[], Tensor]) -> None:
        results[name] = run()

    runs = {"ours": partial(keep, "ours", partial(scenario.ours, steps))}
    ((peer, forward),) = scenario.forwards(clone).items()
    runs[peer] = partial(keep, peer, partial(scenario.published, steps, forward))
    seconds = {name: total / steps for name, total in race(runs, rounds, warm_up=False).items()}
    equal = f"{largest_difference(results['ours'], results[peer]):.0e} of the peak"
    return [Row(f"guided step, {what}", peer, seconds["ours"], seconds[peer], target, equal)]


def _half_row(scenario: Scenario, float_s: float, rounds: int) -> Row:
    with torch.no_grad():
        wanted = scenario.ours(1)
    for network in (scenario.model.transformer, scenario.model.embedders):
        state = {n: t if n.endswith(IN_FLOAT32) else t.bfloat16() for n, t in network.state_dict().items()}
        network.load_state_dict(state, assign=True)
    with torch.no_grad():
        got = scenario.ours(1)
    seconds = race({"half": partial(scenario.ours, 1)}, rounds, warm_up=False)
    error = f"{float((got - wanted).norm() / wanted.norm()):.1e} root mean square"
    return Row("guided step in bfloat16, published size", "ours in float32", seconds["half"], float_s, None, error)


def second_seed_row(step_s: float, rounds: int) -> Row:
    """Time a picture and the decoder; a clip has 160 pictures and 24 steps, which are added up."""
    picture_s, decode_s = _picture_seconds(rounds), _decode_seconds()
    second = STEPS * step_s + decode_s
    said = f"a picture {picture_s:.2f} s, decoding {decode_s:.1f} s; added up, not run"
    first = second + 2 * PICTURES * picture_s
    return Row("second seed of a clip, published size", "its first seed", second, first, 3.0, said)


def _picture_seconds(rounds: int) -> float:
    encoder = ClipEncoder(quicken(fill_at_random(clip_tower())), "random")
    return race({"picture": partial(encoder.features, torch.zeros(1, 3, 224, 224))}, rounds)["picture"]


def _decode_seconds() -> float:
    with torch.device("meta"):
        vae = Oobleck()
    fill_at_random(vae)
    return race({"decode": partial(vae.decode, torch.zeros(1, 64, 215))}, 1, warm_up=False)["decode"]


def clip_tower() -> nn.Module:
    """MetaCLIP ViT-H/14's vision tower on the meta device."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14,
        projection_dim=FEATURES, hidden_act="gelu",
    )  # fmt: skip
    with torch.device("meta"):
        return CLIPVisionModelWithProjection(config)


# ---- FLOP


def flop_table() -> str:
    """Markdown: TFLOP of ten seconds at the published size, and of the paper's other sizes."""
    costs = clip_costs(SIZES["large"])
    lines = ["| part | TFLOP each | times | TFLOP a clip |", "|---|---|---|---|"]
    for name, (each, times) in costs.items():
        lines.append(f"| {name} | {each / 1e12:.4f} | {times} | {each * times / 1e12:.2f} |")
    first = sum(each * times for each, times in costs.values())
    pictures = costs["picture through MetaCLIP ViT-H/14"]
    second = first - pictures[0] * pictures[1]
    lines += [f"| a clip, first seed | | | {first / 1e12:.2f} |", f"| a clip, second seed | | | {second / 1e12:.2f} |"]
    lines += ["", "| size | layers x width | guided step, TFLOP |", "|---|---|---|"]
    for name, config in SIZES.items():
        step = clip_costs(config)["guided step"][0]
        lines.append(f"| {name} | {config.depth} x {config.width} | {step / 1e12:.3f} |")
    return "\n".join(lines)


@cache
@torch.no_grad()
def clip_costs(config: FlowTransformerConfig) -> dict[str, tuple[int, int]]:
    """FLOP of each part of a clip of ten seconds, and how often it is needed."""
    with torch.device("meta"):
        model = OmniAudio(FlowTransformer(config), PictureEmbedders(FEATURES, config.width), Oobleck())
        features, pixels = torch.empty(PICTURES, FEATURES), torch.empty(1, 3, 224, 224)
        rows = model.codec.rows(SECONDS)
        x, latents = torch.empty(2, 64, rows), torch.empty(1, 64, rows)
        joined, time = torch.empty(2, 1 + rows, config.width), torch.empty(1, config.width)
    tower, net = clip_tower(), model.transformer
    runs: dict[str, tuple[Callable[[], Any], nn.Module, int]] = {
        "picture through MetaCLIP ViT-H/14": (lambda: tower(pixel_values=pixels), tower, 2 * PICTURES),
        "features joined": (lambda: model.features(features, features, rows), net, 1),
        "guided step": (lambda: net.velocity(x, time, joined), net, STEPS),
        "decoding": (lambda: model.vae.decode(latents), model.vae, 1),
    }
    return {name: (count(run, [network]).flop, times) for name, (run, network, times) in runs.items()}
