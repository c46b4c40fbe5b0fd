"""Our code over the recorded inputs of the joint model: each function gives {recorded name: our tensor}."""

from __future__ import annotations

import copy
from functools import cache

import torch
import torch.nn.functional as F
from ddim import ddim_step
from diffusers import DDIMScheduler
from published_svg import base_unets, tiny_dual_unet
from torch import Tensor

from con360.models.connectors import CrossFeatures
from con360.models.dual_unet import DualUNet
from con360.protocols import Inputs
from con360.records import AV
from con360.sampling import solvers
from con360.sampling.joint import Given, sample_joint
from con360.sampling.schedule import NoiseSchedule, ddim_timesteps
from con360.sampling.settings import SamplerSettings
from con360.sampling.solvers import DiffusionSchedule
from con360.weights.connector_names import published_to_ours
from train.losses import estimate_clean

from .inputs import case_inputs, pipeline_inputs, scheduler_inputs, training_inputs
from .store import published

MODALITIES = ("video", "audio")
Tensors = dict[str, Tensor]


def scheduler(modality: str) -> DDIMScheduler:
    return DDIMScheduler(**published()["schedulers"][f"{modality}_config"])


def cross_of(model: DualUNet, x: Tensors) -> CrossFeatures:
    """`encode_cross` of a recorded case: each recorded connector input is a noisy latent and an estimate."""
    (noisy_v, x0_v), (noisy_a, x0_a) = (x[f"xcon_{m}"].chunk(2, dim=1) for m in MODALITIES)
    times = (x.get(f"tcon_{m}", x[f"t_{m}"]) for m in MODALITIES)
    return model.encode_cross(noisy_v, noisy_a, *times, x0_v, x0_a)


@cache
@torch.no_grad()
def joint_forward(kind: str, case: str) -> Tensors:
    """One recorded input set through the joint forward; case3 with what happens inside."""
    model, x = tiny_dual_unet(kind), case_inputs(case)
    seen: Tensors = {}
    if case == "case3":
        model = copy.deepcopy(model)  # hooks must not outlive this run
        _watch(model, kind, seen)
    cross = cross_of(model, x)
    names = ("x_video", "x_audio", "t_video", "t_audio", "context", "class_labels")
    out = model(*(x[name] for name in names), cross)
    if case == "case3":
        seen |= _heard(cross, kind)
    if kind == "attn":  # whose encoders are the additive ones'; recorded once
        seen = {name: t for name, t in seen.items() if not name.startswith("connector_out")}
    results = {f"mid/{name}": t for name, t in seen.items()} | {"out_video": out[0], "out_audio": out[1]}
    return {f"svg_tiny_{kind}/{case}/{name}": t for name, t in results.items()}


def _heard(cross: CrossFeatures, kind: str) -> Tensors:
    """The signals between the modalities, in their recorded layouts."""
    if kind == "additive":
        return {f"h_con_into_{m}": getattr(cross, f"into_{m}").unsqueeze(-1) for m in MODALITIES}
    return {
        "h_con_into_video": cross.into_video.unsqueeze(1).repeat_interleave(5, dim=0),
        "h_con_into_audio": cross.into_audio.unsqueeze(1),
    }


def _watch(model: DualUNet, kind: str, seen: Tensors) -> None:
    """Hooks that note intermediates of case3 (five frames) under their recorded names."""

    def note(name, transform=lambda x: x, take_input=False):
        def hook(module, args, output):
            seen[name] = transform(args[0] if take_input else output)

        return hook

    for modality, frames in (("video", 5), ("audio", 1)):
        for j, stage in enumerate(model.connectors.encoders[modality].stages):
            stage.register_forward_hook(note(f"connector_out_{modality}.{j}", lambda x, T=frames: _unfold(x, T)))
        for d, j in ((0, 2), (0, 3), (1, 0), (1, 1)):
            connector = model.connectors.at(f"{modality}.{('down', 'up')[d]}.{j}")
            name = f"connector_in_{modality}.{d}.{j}"
            fold = (lambda x: x) if kind == "attn" else (lambda x, T=frames: _unfold(x, T))
            connector.register_forward_hook(note(name, fold))
            block = connector.block
            if kind == "additive":
                block.norm2.register_forward_hook(note(f"{name}:after_attn_c", _channels_first, take_input=True))
                block.attend_self.register_forward_hook(note(f"{name}:attn_s"))
            else:
                block.attend_self.register_forward_hook(note(f"{name}:attn1"))
                block.attend_cross.register_forward_hook(note(f"{name}:attn2"))


def _unfold(x: Tensor, frames: int) -> Tensor:
    return x if frames == 1 else x.unflatten(0, (-1, frames)).transpose(1, 2)


def _channels_first(x: Tensor) -> Tensor:
    return x.movedim(-1, 1) if x.shape[1] > 1 else x.movedim(-1, 1)[:, :, 0]


@cache
@torch.no_grad()
def single_modalities() -> Tensors:
    x, model = case_inputs("case1"), DualUNet(*base_unets())
    return {
        "svg_tiny_additive/case1/single_video": model.forward_video(x["x_video"], x["t_video"], x["context"]),
        "svg_tiny_additive/case1/single_audio": model.forward_audio(x["x_audio"], x["t_audio"], x["class_labels"]),
    }


@cache
def scheduler_steps(modality: str) -> Tensors:
    """Trajectories over recorded noise predictions, alphas and noising."""
    library, x = scheduler(modality), scheduler_inputs(modality)
    schedule = NoiseSchedule.of(library)
    results = {"alphas_cumprod": schedule.alphas_cumprod, "final_alpha_cumprod": torch.tensor([schedule.final_alpha])}
    results["add_noise/out"] = _noised(library, x["add_noise/x"], x["add_noise/noise"], x["add_noise/t"])
    for label in ("none", "1.5", "2.0", "sqrt1.5", "1/sqrt1.5"):
        pairs = schedule.alpha_pairs(ddim_timesteps(schedule, 10, published()["schedulers"]["gammas"][label]))
        states, clean = _walk(schedule, x, pairs)
        at = f"gamma={label}/clipped"
        results |= {f"{at}/prev_sample": states, f"{at}/pred_original_sample": clean}
    timesteps = ddim_timesteps(schedule, 10)
    results["eta0.5/prev_sample"], _ = _walk(schedule, x, schedule.alpha_pairs(timesteps), eta=0.5)
    # The library goes to t - 100 after t, wherever its own next timestep lies; below 0 is the final alpha.
    library_next = published()["schedulers"]["library_prev_timesteps_10"][modality]
    alpha_of = [float(a) for a in schedule.alphas_cumprod]
    pairs = [(alpha_of[t], alpha_of[n] if n >= 0 else schedule.final_alpha)
             for t, n in zip(timesteps, library_next, strict=True)]  # fmt: skip
    results["diffusers_ddim/prev_sample"], _ = _walk(schedule, x, pairs)
    return {f"scheduler/{modality}/{name}": t for name, t in results.items()}


def _walk(schedule: NoiseSchedule, given: Tensors, pairs: list[tuple[float, float]], eta: float = 0.0):
    x, states, clean = given["start"], [], []
    for i, (alpha, alpha_next) in enumerate(pairs):
        noise = given["variance_noise"][i] if eta else None
        x, x0 = ddim_step(schedule, given["eps"][i], x, alpha, alpha_next, eta=eta, noise=noise)
        states.append(x)
        clean.append(x0)
    return torch.stack(states), torch.stack(clean)


def _noised(library: DDIMScheduler, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As training does it: by the library's scheduler."""
    return library.add_noise(x, noise, t)


@cache
def trajectory(label: str, *, passes_together: bool = True) -> Tensors:
    """The whole guided sampling run of 4 steps: latents, estimates and guided predictions after each."""
    x, settings = pipeline_inputs(), published()["pipeline"]
    run = settings["runs"][label]
    steps: list[tuple[Tensor, Tensor, Tensor]] = []  # video and audio by turns
    make = solvers.make_solver

    def noting(*args):
        solver = make(*args)
        estimate, move, predictions = solver.estimate, solver.move, []

        def noted_estimate(index, prediction, x_t):
            predictions.append(prediction)
            return estimate(index, prediction, x_t)

        def noted_move(index, x_t, x0, noise):
            after = move(index, x_t, x0, noise)
            steps.append((after.clone(), x0.clone(), predictions[-1].clone()))
            return after

        solver.estimate, solver.move = noted_estimate, noted_move
        return solver

    solvers.make_solver = noting
    text, start = AV(x["embeds_v"], x["embeds_a"]), AV(x["latents_v"], x["latents_a"])
    schedulers = AV(settings["video_scheduler"], settings["audio_scheduler"])
    try:
        last = sample_joint(
            tiny_dual_unet("additive"),
            schedulers.map(lambda scheduler: DiffusionSchedule(DDIMScheduler(**scheduler))),
            Inputs(text.map(lambda t: t[2:]), text.map(lambda t: t[:2])),
            start.map(lambda latents: latents.shape[1:]),
            SamplerSettings(
                steps=run["num_inference_steps"], cfg_video=run["guidance_scale_v"], cfg_audio=run["guidance_scale_a"],
                gamma=run["gamma"], passes_together=passes_together,
            ),
            given=Given(noise=start),
        )  # fmt: skip
    finally:
        solvers.make_solver = make
    results = {}
    for m, modality in enumerate(MODALITIES):
        for name, values in zip(("latents", "x0", "guided_eps"), zip(*steps[m::2], strict=True), strict=True):
            if label == "gamma_none" and name != "latents":  # recorded for the adjusted run alone
                continue
            results[f"pipeline_tiny/{label}/{modality}/{name}"] = torch.stack(values)
        assert torch.equal(results[f"pipeline_tiny/{label}/{modality}/latents"][-1], last[m])
    return results


def training_noise() -> Tensors:
    """The two noisings of the recorded step; sound is padded to 24 rows afterwards."""
    x, values = training_inputs(), published()["training"]["additive"]
    results = {}
    for m, con in zip(MODALITIES, reversed(values["timesteps_con"]), strict=True):
        for name, t in ((f"noisy_{m}", values["timesteps"]), (f"noisy_con_{m}", con)):
            noisy = _noised(scheduler(m), x[f"latents_{m}"], x[f"noise_{m}"], torch.tensor(t))
            results[name] = noisy if m == "video" else F.pad(noisy, (0, 0, 0, 4))
    return results


@cache
def training_step(kind: str) -> tuple[Tensors, tuple[float, float], dict[str, float]]:
    """The recorded training step: (tensors, losses of video and audio, gradient norms by published name).

    Its first pass noises the connectors' input at one timestep and embeds another: a published bug, repeated here to
    compare and nowhere else.
    """
    values, given, x = published()["training"][kind], training_inputs(), training_noise()
    unet = copy.deepcopy(tiny_dual_unet(kind))
    unet.connectors.requires_grad_(True)
    for name, parameter in unet.unet_v.named_parameters():
        parameter.requires_grad_("motion_modules" in name)
    t, text = torch.tensor(values["timesteps"]), (given["context"], given["class_labels"])
    noisy, noisy_con = ([x[f"{prefix}_{m}"] for m in MODALITIES] for prefix in ("noisy", "noisy_con"))
    with torch.no_grad():
        first = unet(*noisy, t, t, *text, unet.encode_cross(*noisy_con, t, t))
    # The record lists audio before video.
    keep, t_con = ([torch.tensor(v) for v in reversed(values[k])] for k in ("keep_x0", "timesteps_con"))
    x0 = [estimate_clean(scheduler(m), out, n, t) * k.view(-1, *(1,) * (n.ndim - 1))
          for m, out, n, k in zip(MODALITIES, first, noisy, keep, strict=True)]  # fmt: skip
    out_v, out_a = unet(*noisy, t, t, *text, unet.encode_cross(*noisy_con, *t_con, *x0))
    out_a = out_a[:, :, : given["noise_audio"].shape[2]]
    losses = F.mse_loss(out_v, given["noise_video"]), F.mse_loss(out_a, given["noise_audio"])
    sum(losses).backward()
    results = {f"pred_{m}": o.detach() for m, o in zip(MODALITIES, (out_v, out_a), strict=True)}
    results |= {f"pass1_eps_{m}": o for m, o in zip(MODALITIES, first, strict=True)}
    results |= {f"x0_kept_{m}": o for m, o in zip(MODALITIES, x0, strict=True)}
    gradients = _gradients(unet)
    for name in GRADIENTS:
        corner = gradients[name]
        results[f"grad/{name}"] = corner.flatten(1)[:64, :64] if corner.ndim > 1 else corner
    tensors = {f"train_tiny/{kind}/{name}": value for name, value in results.items()}
    return tensors, tuple(loss.item() for loss in losses), {n: float(g.norm()) for n, g in gradients.items()}


GRADIENTS = (
    "unet_svg.connector_in_audio.1.1.0.proj_in.weight", "unet_svg.connector_in_video.1.1.0.proj_in.weight",
    "unet_svg.connector_out_audio.3.0.in_layers.2.bias",
    "unet_svg.connector_out_video.1.0.1.temporal_attn.to_q.weight", "unet_v.mid_block.motion_modules.0.proj_in.weight",
)  # fmt: skip


def _gradients(unet: DualUNet) -> Tensors:
    """By published name; a weight that nothing reaches has a gradient of zero."""
    from con360.weights.connector_names import to_published_state

    config = unet.connectors.config
    named = {f"unet_svg.{name}": unet.connectors.get_parameter(published_to_ours(config, name))
             for name in to_published_state(unet.connectors)}  # fmt: skip
    named |= {f"unet_v.{name}": p for name, p in unet.unet_v.named_parameters() if p.requires_grad}
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named.items()}
