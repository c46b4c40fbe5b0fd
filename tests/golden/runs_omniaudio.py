"""Our OmniAudio over its recorded inputs: each function gives {recorded name: our tensor}."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from con360.models.flow_transformer import FlowTransformer, FlowTransformerConfig
from con360.models.omniaudio import OmniAudio
from con360.models.oobleck import Oobleck, OobleckConfig, kl_divergence
from con360.models.picture_features import PictureEmbedders, spread_over_rows
from con360.protocols import Inputs
from con360.records import AV
from con360.sampling.flow import FlowSchedule
from con360.sampling.guidance import guide
from con360.sampling.joint import Given, sample_joint
from con360.sampling.settings import SamplerSettings
from con360.sounding.picture_encoder import ClipEncoder
from con360.sounding.pictures import clip_picture, clip_pixels, front_view, squared, view_coordinates
from con360.weights.omniaudio import Facts

from .filler import clip_u8, fill, fill_module, noise
from .store import published

Tensors = dict[str, Tensor]
TINY, VIDEO = "omniaudio_tiny", "omniaudio_video"
FORWARDS, RESAMPLED = ("dit0", "dit1", "dit2", "dit3"), ("20_12", "2_6", "5_9", "7_23", "80_215")
GIVEN = (
    "vae/audio", "vae/eps", "vae/z", "vae/z_long", "cond/video_fov", "cond/video_360", "sample/noise",
    "sample/video_fov", "sample/video_360", "sample/init_audio", "sample/init_eps",
    *(f"{one}/{part}" for one in FORWARDS for part in ("x", "video_fov", "video_360")),
    *(f"resample/{case}/in" for case in RESAMPLED),
)  # fmt: skip
QUIET = ("vae/audio", "sample/init_audio")
# Sizes of the recorded model: autoencoder, transformer, pictures' features.
VAE = OobleckConfig(width=4, latent_channels=8)
TRANSFORMER, FEATURES = FlowTransformerConfig(8, 128, 2, 3), 12
FACTS = Facts(trained_s=35000 / 44100)


@cache
def given() -> Tensors:
    """Inputs of the recorded runs, by their names within the file."""
    shapes = {name: published()["tensors"][f"{TINY}/{name}"]["shape"] for name in GIVEN}
    return {name: _noise(name, shape) * (0.1 if name in QUIET else 1) for name, shape in shapes.items()}


def _noise(name: str, shape: list[int]) -> Tensor:
    # In double until it is scaled: the recorded rule.
    return torch.from_numpy(noise(f"omni/{name.removesuffix('/in')}", tuple(shape)))


def given_tensors() -> Tensors:
    return {f"{TINY}/{name}": value.float() for name, value in given().items()}


def value_of(name: str, shape: tuple[int, ...]) -> Tensor:
    """Value of the weight called `name` in the published file; two rules beside `filler.fill`'s."""
    leaf = name.rpartition(".")[2]
    # Gains of norms are called gamma here. With whole gains of weight norm the random VAE amplifies rounding.
    filled = fill(f"omni.{name}{'.g' if leaf == 'gamma' else ''}", shape)
    return filled * 0.7 if leaf == "weight_g" else filled


def _filled(network: nn.Module, prefix: str) -> nn.Module:
    """Fill the weights; constants stay the network's own."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(value_of(prefix + name, tuple(weight.shape)))
    return network.eval().requires_grad_(False)


@cache
def model() -> OmniAudio:
    return OmniAudio(
        _filled(FlowTransformer(TRANSFORMER), "model.model."),
        _filled(PictureEmbedders(FEATURES, TRANSFORMER.width), "conditioner."),
        _filled(Oobleck(VAE), "pretransform.model."), trained_s=FACTS.trained_s,
    )  # fmt: skip


def unused_shapes(width: int, depth: int, features: int = 1024, context: int = 768) -> dict[str, tuple[int, ...]]:
    """Weights of the published file that nothing reads: cross-attention without a context, and lone projections."""
    shapes: dict[str, tuple[int, ...]] = {f"model.model.to_cond_embed.{i}.weight": (context, context) for i in (0, 2)}
    for layer in (f"model.model.transformer.layers.{i}" for i in range(depth)):
        shapes |= {f"{layer}.cross_attend_norm.{name}": (width,) for name in ("gamma", "beta")}
        shapes |= {f"{layer}.cross_attn.{name}.weight": (width, width) for name in ("to_q", "to_out")}
        shapes[f"{layer}.cross_attn.to_kv.weight"] = (2 * context, context)
    for one in ("video_fov", "video_360"):
        shapes |= {f"conditioner.conditioners.{one}.proj_out.{k}": s for k, s in _linear(width, features).items()}
    linear = _linear(width, width).items()
    return shapes | {f"conditioner.conditioners.video_360.global_proj.0.{k}": s for k, s in linear}


def _linear(out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (out, into), "bias": (out,)}


def state_of(omniaudio: OmniAudio) -> Tensors:
    """What a model reads, by its published names."""
    networks = {"model.model.": omniaudio.transformer, "conditioner.": omniaudio.embedders}
    networks["pretransform.model."] = omniaudio.vae
    return {prefix + name: t for prefix, net in networks.items() for name, t in net.state_dict().items()}


def published_state() -> Tensors:
    """The recorded tiny model's whole published state."""
    unused = unused_shapes(TRANSFORMER.width, TRANSFORMER.depth, FEATURES, 24)
    return state_of(model()) | {name: torch.ones(shape) for name, shape in unused.items()}


def _inputs(*names: str) -> list[Tensor]:
    return [given()[name].float() for name in names]


@cache
@torch.no_grad()
def autoencoder() -> Tensors:
    vae = model().vae
    audio, eps, z, long = _inputs("vae/audio", "vae/eps", "vae/z", "vae/z_long")
    inside, hooks = _watched(vae)
    mean, std = vae.moments(audio)
    decoded = vae.decode(z)
    for hook in hooks:
        hook.remove()
    # The scale before it becomes a deviation.
    scale = torch.log(torch.expm1(std.double() - 1e-4))
    results = {
        "enc_out": torch.cat((mean, scale.float()), dim=1), "latents": mean + std * eps, "decoded": decoded,
        "decoded_long_stride16": vae.decode(long)[..., ::16],
    }  # fmt: skip
    return {f"{TINY}/vae/{name}": t for name, t in (results | inside).items()}


def _watched(vae: Oobleck) -> tuple[Tensors, list]:
    inside: Tensors = {}

    def note(name: str):
        def hook(module: nn.Module, args: object, out: Tensor) -> None:
            first = out[:1]
            inside[name] = first[..., ::8] if first.shape[-1] > 400 else first

        return hook

    layers = {f"mid/enc/layer{i}": vae.encoder.layers[i] for i in range(6)}
    layers |= {f"mid/dec/layer{i}": vae.decoder.layers[i] for i in range(7)}
    layers |= {f"mid/dec/layer1.{j}": vae.decoder.layers[1].layers[j] for j in range(5)}
    return inside, [layer.register_forward_hook(note(name)) for name, layer in layers.items()]


def kl() -> float:
    with torch.no_grad():
        return float(kl_divergence(*model().vae.moments(*_inputs("vae/audio"))))


@cache
@torch.no_grad()
def embedded() -> Tensors:
    view, panorama = _inputs("cond/video_fov", "cond/video_360")
    out = {"video_fov": model().embedders.view(view), "video_360": model().embedders.panorama(panorama)}
    doors = {"add_cond": out["video_fov"], "global_cond": out["video_360"]}
    return {f"{TINY}/cond/{name}": t for name, t in ({f"out/{k}": t for k, t in out.items()} | doors).items()}


@cache
def splines() -> Tensors:
    outs = {
        case: spread_over_rows(given()[f"resample/{case}/in"].float(), int(case.split("_")[1])) for case in RESAMPLED
    }
    return {f"{TINY}/resample/{case}/out": out for case, out in outs.items()}


@cache
@torch.no_grad()
def forward(case: str) -> Tensors:
    """Velocities of one recorded case: with and without guidance, with inputs left out, and what lies inside."""
    net, (x, view, panorama) = model().transformer, _inputs(*(f"{case}/{n}" for n in ("x", "video_fov", "video_360")))
    time = net.embed_times("audio", torch.tensor(published()["omniaudio"]["dit_t"][case]), x)
    both, without = model().batch_features(panorama, view, x.shape[-1])
    inside, hooks = _watch_layers(net) if case == "dit3" else ({}, [])
    out = net.velocity(x, time, both)
    for hook in hooks:
        hook.remove()
    unguided = net.velocity(x, time, without)
    results = {"out": out, **inside}
    if case != "dit3":
        results["out_cfg3"] = guide([unguided, out], (3.0,))
        results["out_cfg5_rescale0.7"] = guide([unguided, out], (5.0,), 0.7)
    if case == "dit0":
        results |= {"out_no_fov": unguided, "out_zero_fov": unguided}
        for name, features in (("out_no_360", both), ("out_unconditional", without)):
            lone = torch.cat((torch.zeros_like(features[:, :1]), features[:, 1:]), dim=1)
            results[name] = net.velocity(x, time, lone)
    if case == "dit3":
        results |= _conditions_inside(net, x, view, panorama, time)
    return {f"{TINY}/{case}/{name}": t for name, t in results.items()}


def _watch_layers(net: FlowTransformer) -> tuple[Tensors, list]:
    inside: Tensors = {}
    layers = net.transformer
    first = layers.layers[0]
    named = {
        "preprocess_conv": net.preprocess_conv, "project_in": layers.project_in, "layer0.pre_norm": first.pre_norm,
        "layer0.self_attn.to_qkv": first.self_attn.to_qkv, "layer0.self_attn": first.self_attn,
        "layer0.ff_norm": first.ff_norm, "layer0.ff": first.ff, "project_out": layers.project_out,
        "postprocess_conv": net.postprocess_conv, **{f"layer{i}": layer for i, layer in enumerate(layers.layers)},
    }  # fmt: skip

    def note(name: str):
        return lambda module, args, out: inside.__setitem__(f"mid/{name}", out)

    return inside, [layer.register_forward_hook(note(name)) for name, layer in named.items()]


def _conditions_inside(net: FlowTransformer, x: Tensor, view: Tensor, panorama: Tensor, time: Tensor) -> Tensors:
    seen, rows = model().embedders.panorama(panorama), x.shape[-1]
    return {
        "mid/add_cond_resampled": spread_over_rows(model().embedders.view(view), rows),
        "mid/global_per_frame": net.to_global_embed(seen),
        "mid/timestep_features": net.timestep_features(torch.tensor(published()["omniaudio"]["dit_t"]["dit3"])),
        "mid/timestep_embed": time,
        "mid/prepend_token": net.panorama_token(seen) + time[:, None],
        "mid/rotary_freqs": _whole_angles(net, rows + 1),
    }


def _whole_angles(net: FlowTransformer, rows: int) -> Tensor:
    """Angles of the rows' turns; they are recorded with whole turns, which cosine and sine have lost."""
    rotary = net.transformer.rotary_pos_emb
    cos, sin = (part.double() for part in rotary.angles(rows))
    part = torch.atan2(sin, cos)
    near = torch.arange(rows)[:, None] * rotary.inv_freq.double().repeat(2)
    return (part + ((near - part) / (2 * torch.pi)).round() * 2 * torch.pi).float()


def frequencies() -> Tensors:
    return {f"{TINY}/rotary_inv_freq": model().transformer.transformer.rotary_pos_emb.inv_freq}


class _Noted:
    """A schedule that notes latents and guided velocities of each step."""

    def __init__(self, schedule: FlowSchedule) -> None:
        self.schedule, self.x, self.v = schedule, [], []

    def timesteps(self, *args):
        return self.schedule.timesteps(*args)

    def noised(self, *args):
        return self.schedule.noised(*args)

    def solver(self, *args):
        solver, noted = self.schedule.solver(*args), self

        class Noting:
            move = staticmethod(solver.move)

            @staticmethod
            def estimate(index: int, prediction: Tensor, x: Tensor) -> Tensor:
                noted.x.append(x[0])
                noted.v.append(prediction[0])
                return solver.estimate(index, prediction, x)

        return Noting()


@torch.no_grad()
def sampled_by(
    omniaudio: OmniAudio, steps: int, cfg: float, schedule: FlowSchedule | None = None, start: Tensor | None = None
) -> tuple[Tensor, _Noted]:
    """Latents of the recorded clip by a model, and what its steps saw."""
    panorama, view, noise = _inputs("sample/video_360", "sample/video_fov", "sample/noise")
    start = noise if start is None else start
    noted = _Noted(schedule or FlowSchedule())
    both, without = omniaudio.features(panorama, view, start.shape[-1])
    latents = sample_joint(
        omniaudio.denoiser, AV(audio=noted), Inputs(AV(audio=both[None]), AV(audio=without[None])),
        AV(audio=tuple(start.shape[1:])), SamplerSettings(steps=steps, cfg_video=None, cfg_audio=cfg),
        given=Given(noise=AV(audio=start)),
    )  # fmt: skip
    return latents.audio, noted


@cache
@torch.no_grad()
def sampled(name: str) -> Tensors:
    """Complete runs through the sampler: latents and velocities of each step, and the decoded sound."""
    steps, cfg = {"cfg3": (4, 3.0), "cfg5": (6, 5.0)}[name]
    latents, noted = sampled_by(model(), steps, cfg)
    sound = torch.cat(list(model().codec.decode_tiles([latents[0]])), dim=1)
    results = {
        "x": torch.stack(noted.x), "v": torch.stack(noted.v), "latents": latents,
        "pcm16": (sound / sound.abs().max() * 32767).to(torch.int16),
    } | ({"audio": sound[None]} if name == "cfg3" else {})  # fmt: skip
    return {f"{TINY}/sample/{name}/{key}": t for key, t in results.items()}


@cache
@torch.no_grad()
def varied() -> Tensors:
    """A variation of a given sound: padded, encoded with the recorded noise, taken to 0.6 and back in 4 steps."""
    audio, eps, start = _inputs("sample/init_audio", "sample/init_eps", "sample/noise")
    mean, std = model().vae.moments(F.pad(audio, (0, 35000 - audio.shape[1]))[None])
    schedule = FlowSchedule(0.6)
    latents, _ = sampled_by(model(), 4, 3.0, schedule, schedule.noised(mean + std * eps, start, 0.6))
    return {f"{TINY}/sample/init0.6/latents": latents}


# ---- pictures


def panorama() -> np.ndarray:
    return clip_u8("omni/erp", 1, 128, 256)[0].transpose(1, 2, 0).copy()


# Angles of the recorded views, in the published rotation.
TURNS = ((90, 0), (0, 30), (-135, -20))


def turned(theta_deg: int, phi_deg: int) -> np.ndarray:
    """The published rotation: theta 90 looks left, phi 30 looks down."""
    a, b = np.radians((theta_deg, phi_deg))
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return (about_x @ about_y).T


@cache
def pictures() -> Tensors:
    """Exact ones: the panorama, coordinates, and what is computed of them without a filter."""
    columns, rows = view_coordinates(128, 256, np.eye(3))
    corners = [[columns[i, j], rows[i, j]] for i in (0, -1) for j in (0, -1)]
    results = {
        "erp_u8": panorama(), "view/map_corners": corners,
        "view/map_x_stride8": columns[::8, ::8], "view/map_y_stride8": rows[::8, ::8],
    }  # fmt: skip
    for theta, phi in TURNS:
        maps, name = view_coordinates(128, 256, turned(theta, phi)), f"view/theta{theta}_phi{phi}"
        results |= {f"{name}/map_{axis}_stride16": m[::16, ::16] for axis, m in zip("xy", maps, strict=True)}
    return _tensors(results)


@cache
def filtered_pictures() -> Tensors:
    """Cubic filters of OpenCV and Pillow, whose versions differ by a grey level or two."""
    erp = panorama()
    square, view = squared(erp), front_view(erp)
    results = {
        "view/u8": view, "pixels/panorama_u8": clip_picture(square),
        "pixels/panorama_stride4": clip_pixels(square)[None, :, ::4, ::4],
        "pixels/view_stride4": clip_pixels(view)[None, :, ::4, ::4],
    }  # fmt: skip
    for theta, phi in TURNS:
        seen = front_view(erp, -theta, -phi) if 0 in (theta, phi) else _seen(erp, turned(theta, phi))
        results[f"view/theta{theta}_phi{phi}/u8_stride4"] = seen[::4, ::4]
    return _tensors(results)


def _seen(erp: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The published view along a turn in its own order, which ours does not have."""
    return cv2.remap(erp, *view_coordinates(128, 256, turn), cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def _tensors(values: dict[str, Any]) -> Tensors:
    return {f"{VIDEO}/{name}": torch.as_tensor(np.asarray(value)) for name, value in values.items()}


@cache
def tower(activation: str) -> Tensors:
    """Features of the panorama and the view by the tiny tower."""
    values = published()["omniaudio"]["clip_config"]
    config = CLIPVisionConfig(**values["vision_config"] | {"hidden_act": activation})
    config.projection_dim = values["projection_dim"]
    encoder = ClipEncoder(fill_module(CLIPVisionModelWithProjection(config), "omni_clip."), "recorded")
    erp = panorama()
    pixels = torch.stack([clip_pixels(squared(erp)), clip_pixels(front_view(erp))])
    return {f"{VIDEO}/clip/{activation}/image_features": encoder.features(pixels)}
