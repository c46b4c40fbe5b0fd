"""One joint denoising step under guidance, ours beside the published forward's way of running the same networks.

The published way, re-created with our networks: the connectors' encoders run for both halves of the guided batch though
they read no text, text is repeated per frame and projected again at each step, connectors attend by explicit matrices,
feed-forward layers take all tokens at once, and convolutions go the direct way. Where a clone of the published code is
at hand, it races too (`benchmarks/published.py`). All walk the same steps from the same noise, and their results are
compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from con360.control import ControlConfig, ControlModule, load_control
from con360.models.connector_config import SITES, ConnectorConfig
from con360.models.connectors import Connectors, fold_frames
from con360.models.cpu import feed_forward, winograd
from con360.models.dual_unet import DualUNet, run_blocks, time_embedding
from con360.protocols import Film, Inputs
from con360.records import AV
from con360.sampling.guidance import guide
from con360.sampling.joint import Given, sample_joint
from con360.sampling.schedule import NoiseSchedule, clean_estimate, ddim_move, ddim_timesteps
from con360.sampling.settings import SamplerSettings
from con360.sampling.solvers import DiffusionSchedule
from con360.weights.find import control_file, model_folder
from con360.weights.load import load_joint_model

from .published import PublishedForward
from .timing import Row, largest_difference, race

# (noisy latents, timesteps, previous estimates) of the guided batch, video first, to predictions (video, audio).
Forward = Callable[[list[Tensor], list[int], list[Tensor | None]], tuple[Tensor, Tensor]]

STEPS = 2
# For the forwards without guidance.
TIMESTEP = 500
SCALE_V, SCALE_A = 7.5, 2.5


class Scenario:
    """A network with inputs, and ways to take `STEPS` steps with it."""

    def __init__(
        self, name: str, unet: DualUNet, schedulers: tuple, latent_v: tuple[int, ...], latent_a: tuple[int, ...],
        text_v: tuple[int, ...], text_a: int, control: ControlModule | None = None,
    ) -> None:  # fmt: skip
        g = torch.Generator().manual_seed(0)
        self.name, self.unet, self.schedulers, self.control = name, unet, schedulers, control
        self.start = torch.randn(1, *latent_v, generator=g), torch.randn(1, *latent_a, generator=g)
        # The negative text's features, then the caption's.
        self.text_v = torch.randn(2, *text_v, generator=g)
        self.text_a = torch.nn.functional.normalize(torch.randn(2, text_a, generator=g), dim=-1)
        self.maps = torch.rand(1, latent_v[1], 2, 128, 256, generator=g)

    def film(self) -> Film:
        """Encode the maps as the control's modulation, once per clip."""
        shapes = self.unet.site_shapes(tuple(self.start[0].shape[2:]), tuple(self.start[1].shape[2:]))
        rays = None
        if self.control.config.geometry == "view":
            size = self.control.config.view_grid
            rays = torch.randn(1, self.maps.shape[1], size, size, 3, generator=torch.Generator().manual_seed(1))
        film = self.control(self.maps, rays, shapes, fps=8.0, audio_seconds=4.16)
        return {site: (scale + 0.1, shift) for site, (scale, shift) in film.items()}  # an untrained control gives zeros

    def ours(
        self, film: Film | None = None, settings: SamplerSettings | None = None, device: str | None = None
    ) -> tuple[Tensor, Tensor]:
        text = AV(self.text_v, self.text_a)
        return sample_joint(
            self.unet, AV(*map(DiffusionSchedule, self.schedulers)),
            Inputs(text.map(lambda t: t[1:]), text.map(lambda t: t[:1]), film),
            AV(*(start.shape[1:] for start in self.start)),
            settings or SamplerSettings(steps=STEPS, cfg_video=SCALE_V, cfg_audio=SCALE_A),
            given=Given(noise=AV(*self.start)), device=device,
        )  # fmt: skip

    def ours_once(self) -> tuple[Tensor, Tensor]:
        """One forward without guidance: batch 1."""
        cross = self.unet.encode_cross(*self.start, TIMESTEP, TIMESTEP)
        return self.unet(*self.start, TIMESTEP, TIMESTEP, self.text_v[1:], self.text_a[1:], cross)

    def published(self, clone: Path | None) -> dict[str, Callable[[], list[Tensor]]]:
        """The guided steps as published: re-created, and by a clone of the code."""
        forwards = self._forwards(clone, self.text_v, self.text_a)
        return {name: lambda forward=forward: self._steps(forward) for name, forward in forwards.items()}

    def published_once(self, clone: Path | None) -> dict[str, Callable[[], tuple[Tensor, Tensor]]]:
        forwards = self._forwards(clone, self.text_v[1:], self.text_a[1:])
        inputs = [*self.start], [TIMESTEP] * 2, [None, None]
        return {name: lambda forward=forward: forward(*inputs) for name, forward in forwards.items()}

    def _forwards(self, clone: Path | None, text_v: Tensor, text_a: Tensor) -> dict[str, Forward]:
        recreated = partial(self._recreated, text_v, text_a)
        forwards: dict[str, Forward] = {
            "published way": _as_it_was(recreated, lambda: _explicit_attention(self.unet.connectors)),
            "published way, fused attention": _as_it_was(recreated, nullcontext),
        }
        if clone is not None:
            code = PublishedForward(clone, self.unet, text_v, text_a)
            forwards["published code"] = _as_it_was(code, nullcontext)
        return forwards

    def _steps(self, forward: Forward) -> list[Tensor]:
        schedules = [NoiseSchedule.of(s) for s in self.schedulers]
        timesteps = [ddim_timesteps(s, STEPS) for s in schedules]
        x, x0 = list(self.start), [None, None]
        for step in range(STEPS):
            both = [torch.cat([v] * 2) for v in x]
            known = [None if v is None else torch.cat([v] * 2) for v in x0]
            outputs = forward(both, [t[step] for t in timesteps], known)
            for m, scale in enumerate((SCALE_V, SCALE_A)):
                alpha, alpha_next = schedules[m].alpha_pairs(timesteps[m])[step]
                prediction = guide(list(outputs[m].chunk(2)), (scale,))
                x0[m] = clean_estimate(schedules[m], prediction, x[m], alpha)
                x[m] = ddim_move(x[m], x0[m], alpha, alpha_next)
        return x

    def _recreated(
        self, text_v: Tensor, text_a: Tensor, x: list[Tensor], t: list[int], x0: list[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        cross = self.unet.encode_cross(*x, *t, *x0)
        frames, T = fold_frames(x[0])
        temb = time_embedding(self.unet.unet_v, t[0], x[0]).repeat_interleave(T, dim=0)
        bridge = self.unet._bridge("video", T, cross.into_video, None, True)
        text = text_v.repeat_interleave(T, dim=0)
        video = run_blocks(self.unet.unet_v, frames, temb, text, bridge, num_frames=T)
        audio = self.unet.forward_audio(x[1], t[1], text_a, cross)
        return video.unflatten(0, (-1, T)).transpose(1, 2), audio


def _as_it_was(forward: Forward, attention: Callable[[], AbstractContextManager[None]]) -> Forward:
    """Run a forward with the library's own feed-forward and convolution layers in place of ours."""

    def run(x: list[Tensor], t: list[int], x0: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        all_tokens = mock.patch.object(feed_forward, "ROWS", sys.maxsize)
        direct = mock.patch.object(winograd, "MIN_CHANNELS", sys.maxsize)
        with attention(), all_tokens, direct:
            return forward(x, t, x0)

    return run


@contextmanager
def _explicit_attention(connectors: Connectors) -> Iterator[None]:
    """Attention by explicit matrices inside the connectors and nowhere else."""
    entered: list = []

    def enter(*_) -> None:
        entered.append(sdpa_kernel(SDPBackend.MATH))
        entered[-1].__enter__()

    def leave(*_) -> None:
        entered.pop().__exit__(None, None, None)

    modules = [*connectors.sites.values(), *connectors.encoders.values()]
    hooks = [m.register_forward_pre_hook(enter) for m in modules] + [m.register_forward_hook(leave) for m in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rows(rounds: int, published: Path | None = None) -> list[Row]:
    """Args: published: clone of the published code, to race as well."""
    found = _compare(_tiny_bundle(), rounds, published)
    return found + _compare(_middle(), min(rounds, 2), published)


def full_size_rows(rounds: int, published: Path | None = None) -> list[Row]:
    """Ours beside the published way alone: minutes and about 14 GB of memory, so only where it is asked for."""
    scenario = full_size()
    # One peer is enough at this size: the code itself where it is at hand.
    peer = "published code" if published else "published way"
    rounds, step = min(rounds, 2), f"step, guided, {scenario.name}"
    results: dict[str, list[Tensor]] = {}
    guided = _full_size_row(step, peer, scenario.ours, scenario.published(published)[peer], STEPS, 1.3, rounds, results)
    single = _full_size_row(
        f"forward, batch 1, {scenario.name}", peer, scenario.ours_once, scenario.published_once(published)[peer], 1,
        None, rounds, {},
    )  # fmt: skip
    return [guided, single, _bfloat16_row(step, guided, scenario, rounds, results[peer])]


def _full_size_row(
    name: str, peer: str, ours: Callable, theirs: Callable, steps: int, target: float | None, rounds: int,
    results: dict[str, list[Tensor]],
) -> Row:  # fmt: skip
    """Race the two; `results` takes what they give."""

    def keeping(key: str, run: Callable) -> Callable:
        return lambda: results.__setitem__(key, run())

    runs = {key: keeping(key, run) for key, run in (("ours", ours), (peer, theirs))}
    seconds = race(runs, rounds, warm_up=False)
    error = max(largest_difference(a, b) for a, b in zip(results["ours"], results[peer], strict=True))
    return Row(name, peer, seconds["ours"] / steps, seconds[peer] / steps, target, f"differ by {error:.0e}")


def _bfloat16_row(name: str, whole: Row, scenario: Scenario, rounds: int, truth: list[Tensor]) -> Row:
    """Time our step in bfloat16 beside the peer's in float32, which ran before: both copies would need 18 GB."""
    scenario.unet.to(torch.bfloat16)
    results: list[tuple[Tensor, Tensor]] = []
    seconds = race({"ours": lambda: results.append(scenario.ours())}, rounds, warm_up=False)["ours"] / STEPS
    error = max(largest_difference(a, b) for a, b in zip(results[-1], truth, strict=True))
    return Row(f"{name}, in bfloat16", f"{whole.peer}, float32", seconds, whole.peer_s, None, f"differ by {error:.0e}")


def _compare(scenario: Scenario, rounds: int, published: Path | None) -> list[Row]:
    ways = scenario.published(published)
    with torch.no_grad():
        film, ours = scenario.film(), scenario.ours()
        error = max(largest_difference(a, b) for way in ways.values() for a, b in zip(ours, way(), strict=True))
    runs: dict[str, Callable] = {
        "ours": scenario.ours,
        **ways,
        "with control": lambda: scenario.ours(film),
        "control encoded at each step": lambda: [scenario.film() for _ in range(STEPS)] and scenario.ours(film),
    }
    seconds = {name: value / STEPS for name, value in race(runs, rounds, warm_up=False).items()}
    step, equal = f"step, guided, {scenario.name}", f"differ by {error:.0e}"
    overhead = 100 * (seconds["with control"] / seconds["ours"] - 1)
    print(f"sampling: control adds {overhead:+.1f} % to a step of {scenario.name} (wanted at most 3)")
    # Ours has fused attention too: no target beside that peer.
    targets = {"published way": None if published else 1.3, "published code": 1.3}
    return [
        *(Row(step, way, seconds["ours"], seconds[way], targets.get(way), equal) for way in ways),
        Row(f"{step}, control kept", "the same without control", seconds["with control"], seconds["ours"], 0.97, ""),
        Row(f"{step}, control kept", "control encoded at each step", seconds["with control"],
            seconds["control encoded at each step"], None, ""),
    ]  # fmt: skip


def _tiny_bundle() -> Scenario:
    folder = model_folder()
    model = load_joint_model(folder)
    control, spec = load_control(control_file(None, folder)), model.clip_spec(4.0)
    text_v, text_a = (unet.config for unet in (model.unet.unet_v, model.unet.unet_a))
    return Scenario(
        f"the built-in model, {spec.num_frames} frames", model.unet, (model.scheduler_v, model.scheduler_a),
        *model.latent_shapes(spec), (77, text_v.cross_attention_dim),
        text_a.projection_class_embeddings_input_dim, control.module,
    )  # fmt: skip


def _middle() -> Scenario:
    """Published proportions at two fifths of the width: 8 frames of 128 px, 4 s of sound."""
    name = "a random model, 8 frames of 128 px"
    return published_shape(name, (128, 256, 512, 512), (64, 128, 192, 320), latent_px=16, connector_channel=512)


def full_size(latent_px: int = 32, frames: int = 8) -> Scenario:
    """The published networks with random weights, 4 s of sound."""
    name = f"the published networks, {frames} frames of {8 * latent_px} px"
    return published_shape(name, (320, 640, 1280, 1280), (192, 384, 576, 960), latent_px, frames)


def published_shape(
    name: str, widths_v: tuple[int, ...], widths_a: tuple[int, ...], latent_px: int, frames: int = 8, rows: int = 104,
    **connector: int,
) -> Scenario:  # fmt: skip
    """Random networks of the published shape, on the device and in the precision that PyTorch's context names."""
    from diffusers import DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel

    torch.manual_seed(0)
    flat = UNet2DConditionModel(
        sample_size=latent_px, block_out_channels=widths_v, cross_attention_dim=768, attention_head_dim=8,
    )  # fmt: skip
    unet_v = UNetMotionModel.from_unet2d(flat, MotionAdapter(block_out_channels=widths_v))
    unet_a = UNet2DConditionModel(
        sample_size=16, in_channels=8, out_channels=8, block_out_channels=widths_a, cross_attention_dim=list(widths_a),
        attention_head_dim=8, class_embed_type="simple_projection", class_embeddings_concat=True,
        projection_class_embeddings_input_dim=512,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
    )  # fmt: skip
    connectors = Connectors(ConnectorConfig.for_unets(unet_v, unet_a, **connector))
    for key, parameter in connectors.named_parameters():
        if "proj_out" in key and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)  # zero-initialised layers would hide differences
    unet = DualUNet(unet_v, unet_a, connectors).eval().requires_grad_(False)
    shape_v, shape_a = (4, frames, latent_px, latent_px), (8, rows, 16)
    sites = unet.site_shapes(shape_v[1:], shape_a[1:])
    control = ControlModule(ControlConfig({site: sites[site][0] for site in SITES})).eval()
    with torch.device("cpu"):
        scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
        return Scenario(name, unet, (scheduler, scheduler), shape_v, shape_a, (77, 768), 512, control)
