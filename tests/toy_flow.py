"""A small second system: one flow-matching transformer for both modalities, with codecs and features of its own.

It has no U-Net, mel or text encoder. Its sound is 24 kHz in four channels, and picture features replace the caption.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from con360.models.system import AVSystem
from con360.protocols import Inputs
from con360.records import AV, Conditions, Sound
from con360.timing import ClipSpec

WIDTH, CHANNELS, RATE_HZ, FPS, HOP = 16, 4, 24000, 6.0, 1200


class FlowSolver:
    """Euler steps along straight paths: x = (1 - s) x0 + s noise, and the network predicts noise - x0."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = (*levels, 0.0)

    def estimate(self, index: int, prediction: Tensor, x: Tensor) -> Tensor:
        return x - self.levels[index] * prediction

    def move(self, index: int, x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        return x0 + (self.levels[index + 1] / self.levels[index]) * (x - x0)


class FlowSchedule:
    """Noise levels from 1 to 0."""

    def timesteps(self, steps: int, exponent: float | None = None) -> tuple[float, ...]:
        return tuple((1 - i / steps) ** (exponent or 1.0) for i in range(steps))

    def solver(self, name: str, timesteps: tuple[float, ...], eta: float) -> FlowSolver:
        return FlowSolver(timesteps)

    def noised(self, x0: Tensor, noise: Tensor, timestep: float) -> Tensor:
        return (1 - timestep) * x0 + timestep * noise


class Patches:
    """Frames of 8 x 8 pixels as they are, `[3, T, 8, 8]`."""

    fps, size_px = FPS, 8

    def modules(self) -> list[nn.Module]:
        return []

    def latent_shape(self, spec: ClipSpec) -> tuple[int, ...]:
        return 3, spec.num_frames, 8, 8

    def encode(self, frames: Tensor, *, chunk: int = 8) -> Tensor:
        return frames.transpose(0, 1)[None] * 2 - 1

    def decode(self, latents: Tensor, *, chunk: int = 4, progress=None) -> Tensor:
        return (latents.transpose(0, 1) / 2 + 0.5).clamp(0, 1)


class Blocks:
    """First-order Ambisonics, samples folded into rows: `[4, R, 1200]`."""

    sample_rate_hz, layout, channels, seconds_per_row = RATE_HZ, "ambix", CHANNELS, HOP / RATE_HZ

    def modules(self) -> list[nn.Module]:
        return []

    def latent_shape(self, spec: ClipSpec) -> tuple[int, ...]:
        return CHANNELS, -(-spec.num_samples // HOP), HOP

    def encode(self, sound: Sound, spec: ClipSpec) -> Tensor:
        return sound.waveform.unflatten(1, (-1, HOP))[None]

    def decode(self, latents: Tensor, spec: ClipSpec) -> Sound:
        return Sound(latents.flatten(1)[:, : spec.num_samples], RATE_HZ, "ambix")


class FlowTransformer(nn.Module):
    """Tokens of both modalities and of the picture's features attend to each other."""

    groups = (("video", "audio"),)
    takes_film = False
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.ModuleDict({"video": nn.Linear(3 * 64, WIDTH), "audio": nn.Linear(CHANNELS * HOP, WIDTH)})
        self.out = nn.ModuleDict({"video": nn.Linear(WIDTH, 3 * 64), "audio": nn.Linear(WIDTH, CHANNELS * HOP)})
        self.time = nn.Linear(1, WIDTH)
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True)

    def embed_times(self, modality: str, times: Tensor, like: Tensor) -> Tensor:
        return self.time(times[:, None].float())

    def read(self, features: AV) -> AV:
        return features

    def share(self, x: AV, t: AV, x0: AV, heard: tuple[str, ...]) -> None:
        return None

    def predict(self, group, x: AV, t: AV, features: AV, shared, film) -> AV:
        rows = {m: x.get(m).transpose(1, 2).flatten(2) for m in x.present()}
        tokens = [self.into[m](r) + t.get(m)[:, None] for m, r in rows.items()]
        tokens += [f for f in features if f is not None]
        mixed, start, made = self.block(torch.cat(tokens, 1)), 0, {}
        for m, r in rows.items():
            flat = self.out[m](mixed[:, start : start + r.shape[1]])
            made[m], start = flat.view_as(x.get(m).transpose(1, 2)).transpose(1, 2), start + r.shape[1]
        return AV.of(made)

    def parts(self, group: tuple[str, ...] = ()) -> list[nn.Module]:
        return [self] if group else []


class ToyFlow(AVSystem):
    """Generate frames and Ambisonics, or one of them alone."""

    name, notices = "toy-flow", ()

    def __init__(self, modalities: tuple[str, ...] = ("video", "audio")) -> None:
        self.metadata, self.modalities = {"defaults": {"steps": 3}}, modalities
        torch.manual_seed(0)
        self.network = FlowTransformer().eval().requires_grad_(False)

    @property
    def denoiser(self) -> FlowTransformer:
        return self.network

    @property
    def schedules(self) -> AV:
        return AV(FlowSchedule(), FlowSchedule())

    @property
    def codecs(self) -> AV:
        return AV.of({m: codec for m, codec in (("video", Patches()), ("audio", Blocks())) if m in self.modalities})

    def clip_spec(self, seconds: float) -> ClipSpec:
        return ClipSpec(seconds, FPS, RATE_HZ, longest_s=9.0)

    def encode(self, conditions: Conditions, negative: str = "") -> Inputs:
        """Return picture features `[1, T, 16]`: the means of the saliency maps' columns."""
        seen = conditions.saliency.maps.unflatten(-1, (WIDTH, -1)).mean((1, 3))[None]
        return Inputs(AV(video=seen), AV(video=torch.zeros_like(seen)))
