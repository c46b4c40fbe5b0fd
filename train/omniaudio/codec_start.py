"""Start an autoencoder of Ambisonics near its goal: from voices' components, or from one of stereo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from con360.errors import InputError
from con360.models.oobleck import FrameStem, NormedConv1d, Oobleck, Residual, SnakeBeta
from con360.scenes import VOICES, voice_waveform
from train.omniaudio.settings import HOP, RATES_HZ

RATE_HZ = RATES_HZ["small"]
# Rows of Ambisonics that stereo says nothing about begin this weak, so that their direction exists.
FAINT = 0.01
ROOT_HALF = 0.5**0.5
# Stereo from W and Y, and the way back: L = (W + Y) / root 2, R = (W - Y) / root 2.
STEREO_OF_FIELD = torch.tensor([[ROOT_HALF, ROOT_HALF, 0, 0], [ROOT_HALF, -ROOT_HALF, 0, 0]])


@torch.no_grad()
def start_small(model: Oobleck, sounds: Tensor) -> None:
    """Start the small codec from the components of voices' frames and of sounds `[K, 4, N]`."""
    stem = model.stem
    assert stem is not None, "the small codec has a stem"
    start_basis(stem)
    start_linear(model, stem, sounds)
    # Nearly without noise at first: the latents must carry something before they are made simple.
    scales = model.encoder.layers[-1].bias
    torch.nn.init.constant_(scales[model.config.latent_channels :], -4.0)


def start_basis(stem: FrameStem) -> None:
    """Start the stem's basis from the principal components of frames of single voices."""
    frames = []
    for voice in VOICES:
        for phase in np.linspace(0, 1, 8, endpoint=False):
            wave = torch.from_numpy(voice_waveform(voice, np.arange(4 * RATE_HZ) / RATE_HZ, phase)).float()
            frames.append(wave.unfold(0, 2 * HOP, HOP))
    _, _, components = torch.linalg.svd(torch.cat(frames) * stem.window, full_matrices=False)
    stem.basis.copy_(components[: len(stem.basis)])


def start_linear(model: Oobleck, stem: FrameStem, sounds: Tensor) -> None:
    """Start as the best linear autoencoder of single frames: every layer passes its input on or projects it.

    From random weights the same network needs an hour for what this has at once.
    """
    width, kept = model.config.width, model.config.latent_channels
    frames = stem.split(sounds).transpose(1, 2).flatten(0, 1)
    _, scales, axes = torch.linalg.svd(frames, full_matrices=False)
    # Latents of unit size; the layers between keep the larger half of the components as they are.
    unit = scales[:width, None] / len(frames) ** 0.5
    for module in model.modules():
        if isinstance(module, SnakeBeta):
            module.alpha.fill_(-3.0)
        elif isinstance(module, NormedConv1d) and module.weight_v.shape[:2] == (width, width):
            _pass_on(module, torch.eye(width))
    for module in model.modules():
        if isinstance(module, Residual):
            module.layers[-1].weight_g.mul_(0.05)
    _pass_on(model.encoder.layers[0], axes[:width] / unit)
    _pass_on(model.encoder.layers[-1], torch.cat((torch.eye(kept, width), torch.zeros(kept, width))))
    _pass_on(model.decoder.layers[0], torch.eye(width, kept))
    _pass_on(model.decoder.layers[-1], (axes[:width] / unit * unit.square()).T)


def _pass_on(layer: NormedConv1d, matrix: Tensor) -> None:
    """Make a layer the product with a matrix `[out, in]`, beside a little noise in the other taps."""
    weight = 0.002 * torch.randn_like(layer.weight_v)
    middle = layer.padding if not layer.transposed else layer.weight_v.shape[-1] // 2
    weight[..., middle // layer.dilation] += matrix.T if layer.transposed else matrix
    _set_weight(layer, weight)


def _set_weight(layer: NormedConv1d, weight: Tensor) -> None:
    layer.weight_v.copy_(weight)
    layer.weight_g.copy_(weight.flatten(1).norm(dim=1)[:, None, None])


@torch.no_grad()
def start_from_stereo(model: Oobleck, path: Path) -> None:
    """Start the four channels' autoencoder from one of stereo: W and Y are its sum and difference.

    Stereo turned into Ambisonics gets the latents that the stereo autoencoder gives it, and comes back as that one
    decodes it. Z and X start without influence, and nearly silent.

    Raises:
        InputError: the file is no autoencoder of stereo of the model's sizes.
    """
    stereo = load_file(path)
    stereo = {name.removeprefix("pretransform.model."): value for name, value in stereo.items()}
    first, last = "encoder.layers.0", f"decoder.layers.{len(model.decoder.layers) - 1}"
    own = model.state_dict()
    outer = {f"{layer}.{part}" for layer in (first, last) for part in ("weight_v", "weight_g")}
    odd = [n for n in own if n not in stereo or (n not in outer and stereo[n].shape != own[n].shape)]
    if odd or stereo[f"{first}.weight_v"].shape[1] != 2:
        raise InputError(f"{path} is no stereo autoencoder of this size ({', '.join(odd[:3])}); name another file.")
    model.load_state_dict({n: value for n, value in stereo.items() if n in own and n not in outer}, strict=False)
    heard, made = (_effective(stereo, layer) for layer in (first, last))
    _set_weight(model.encoder.layers[0], torch.einsum("ock,cf->ofk", heard, STEREO_OF_FIELD))
    field = torch.einsum("cik,cf->fik", made, STEREO_OF_FIELD)
    faint = FAINT * made.std() * torch.randn_like(field[2:])
    _set_weight(model.decoder.layers[-1], torch.cat((field[:2], faint)))


def _effective(state: dict[str, Tensor], layer: str) -> Tensor:
    direction, gain = state[f"{layer}.weight_v"], state[f"{layer}.weight_g"]
    return direction * (gain / direction.flatten(1).norm(dim=1)[:, None, None])
