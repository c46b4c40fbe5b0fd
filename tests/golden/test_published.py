"""Our code against what the published code gave: every recorded tensor, in one of the groups below.

`test_equals_the_samples` runs on every machine, from published.json alone; `test_equals_the_whole` compares every value
where the full recorded outputs are at hand. Both read the same runs of our code.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
from golden import inputs, runs_omniaudio, runs_onsets, runs_salvit, runs_sound, runs_svg
from golden.filler import fill
from golden.keys import key_digest
from golden.store import PATH, bound_of, compare, names_matching, published, recorded, relative_error
from published_svg import base_unets, full_size_on_meta, published_connector_state, read_json
from torch import Tensor

from con360.models.connector_config import INPUTS
from con360.sampling.schedule import NoiseSchedule, ddim_timesteps
from con360.weights.connector_names import to_published_state

Produce = Callable[[], dict[str, Tensor]]
GIVEN = r"(x_|xcon_|t_|tcon_|context|class_labels).*"
SALVIT_GRIDS = r"salvit360/geom/scale{}/.*"

# Not ours: the training loss of the saliency network, which this project does not train; OmniAudio's mean-pooled
# panorama, which nothing reads, and its tiles that overlap by less than the decoder's reach.
NOT_OURS = {
    "salvit360/vac/vac_loss", "omniaudio_tiny/cond/out/video_360_g",
    "omniaudio_tiny/vae/decoded_long_chunk8_overlap4_stride16",
}  # fmt: skip


def _at(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _scheduler_inputs() -> dict[str, Tensor]:
    return {k: v for m in runs_svg.MODALITIES for k, v in _at(f"scheduler/{m}", inputs.scheduler_inputs(m)).items()}


def _sounds() -> dict[str, Tensor]:
    return _at("mel_vocoder", inputs.sounds() | {f"vocoder/{k}": v for k, v in inputs.vocoder_statistics().items()})


def _clip_probe() -> dict[str, Tensor]:
    return {"salvit360/clip_probe_u8": runs_salvit.clip("clip", 8)[:, :, ::64, ::64]}


# Group: (which recorded tensors, what makes ours). Groups in SLOW take more than a few seconds.
GROUPS: dict[str, tuple[str, Produce]] = {
    **{
        f"{case} inputs": (
            f"svg_tiny_additive/{case}/{GIVEN}",
            lambda case=case: _at(f"svg_tiny_additive/{case}", inputs.case_inputs(case)),
        )
        for case in inputs.CASES
    },
    **{
        f"{kind} {case}": (
            rf"svg_tiny_{kind}/{case}/(out_.*|mid/.*)",
            lambda kind=kind, case=case: runs_svg.joint_forward(kind, case),
        )
        for kind in ("additive", "attn")
        for case in inputs.CASES
    },
    "one modality alone": (r"svg_tiny_additive/case1/single_.*", runs_svg.single_modalities),
    "scheduler inputs": (r"scheduler/\w+/(start|eps|variance_noise|add_noise/(x|noise|t))", _scheduler_inputs),
    **{
        f"scheduler {m}": (
            rf"scheduler/{m}/(alphas_cumprod|final_alpha_cumprod|add_noise/out|.*prev_sample|.*pred_original_sample)",
            lambda m=m: runs_svg.scheduler_steps(m),
        )
        for m in runs_svg.MODALITIES
    },
    "sampling inputs": (
        r"pipeline_tiny/(embeds_.|latents_.|vae_./enc_in)",
        lambda: _at("pipeline_tiny", inputs.pipeline_inputs()),
    ),
    "sampling": (r"pipeline_tiny/gamma_none/.*", lambda: runs_svg.trajectory("gamma_none")),
    "sampling, adjusted timesteps": (
        r"pipeline_tiny/gamma_1.5/(video|audio)/.*",
        lambda: runs_svg.trajectory("gamma_1.5"),
    ),
    "decoding": (r"pipeline_tiny/gamma_1.5/(mel|waveform|video_rgb_stride4)", runs_sound.decoded),
    "encoding": (r"pipeline_tiny/vae_./enc_moments", runs_sound.encoded),
    "sounds": (r"mel_vocoder/(wave.*|vocoder/(mean|scale))", _sounds),
    "mel": (r"mel_vocoder/(mel.*|window)", runs_sound.mels),
    "vocoder": (r"mel_vocoder/vocoder/out.*", runs_sound.vocoded),
    "training inputs": (
        r"train_tiny/[^/]+",
        lambda: _at("train_tiny", inputs.training_inputs() | runs_svg.training_noise()),
    ),
    **{
        f"training step {kind}": (rf"train_tiny/{kind}/.*", lambda kind=kind: runs_svg.training_step(kind)[0])
        for kind in ("additive", "attn")
    },
    "saliency clip": (r"salvit360/clip_probe_u8", _clip_probe),
    **{f"saliency geometry {k}": (SALVIT_GRIDS.format(k), lambda k=k: runs_salvit.geometry(k)) for k in (0, 1)},
    "saliency of one scale": (r"salvit360/vst/(?!sliding).*", lambda: runs_salvit.prediction("vst")),
    "saliency of two scales": (r"salvit360/vac/(?!vac_loss).*", lambda: runs_salvit.prediction("vac")),
    "saliency, sliding": (r"salvit360/vst/sliding.*", lambda: runs_salvit.sliding()[0]),
    "omniaudio inputs": (
        r"omniaudio_tiny/(vae/(audio|eps|z|z_long)|cond/video_.*|sample/(noise|video_.*|init_.*)|dit./(x|video_.*)"
        r"|resample/.*/in)",
        runs_omniaudio.given_tensors,
    ),
    "omniaudio autoencoder": (
        r"omniaudio_tiny/vae/(enc_out|latents|decoded|decoded_long_stride16|mid/.*)",
        runs_omniaudio.autoencoder,
    ),
    "omniaudio embedders": (
        r"omniaudio_tiny/cond/(out/video_(fov|360)|add_cond|global_cond)",
        runs_omniaudio.embedded,
    ),
    "omniaudio splines": (r"omniaudio_tiny/resample/.*/out", runs_omniaudio.splines),
    "omniaudio turns": (r"omniaudio_tiny/rotary_inv_freq", runs_omniaudio.frequencies),
    **{
        f"omniaudio {case}": (
            rf"omniaudio_tiny/{case}/(out.*|mid/.*)",
            lambda case=case: runs_omniaudio.forward(case),
        )
        for case in runs_omniaudio.FORWARDS
    },
    **{
        f"omniaudio sampling {run}": (
            rf"omniaudio_tiny/sample/{run}/.*",
            lambda run=run: runs_omniaudio.sampled(run),
        )
        for run in ("cfg3", "cfg5")
    },
    "omniaudio fields of sounds": (r"omniaudio_tiny/foa/.*", runs_omniaudio.fields),
    "omniaudio variation": (r"omniaudio_tiny/sample/init0.6/.*", runs_omniaudio.varied),
    "omniaudio pictures": (r"omniaudio_video/(erp_u8|view/.*map_.*)", runs_omniaudio.pictures),
    "omniaudio filtered pictures": (
        r"omniaudio_video/(view/.*u8.*|pixels/.*)",
        runs_omniaudio.filtered_pictures,
    ),
    **{
        f"omniaudio tower {activation}": (
            rf"omniaudio_video/clip/{activation}/.*",
            lambda activation=activation: runs_omniaudio.tower(activation),
        )
        for activation in ("gelu", "quick_gelu")
    },
    "onset inputs": (r"(syncfusion_onset|rms_envelope)/.*/x", runs_onsets.given),
    **{
        f"onset {case}": (rf"syncfusion_onset/{case}/(logits|mid/.*)", lambda case=case: runs_onsets.forward(case))
        for case in ("case_s", "case_m", "case_f")
    },
    "envelope of video": (r"rms_envelope/video2rms/out", runs_onsets.envelope),
}  # fmt: skip
SLOW = {
    "additive case1", "attn case1", "sampling", "training step additive", "training step attn",
    "saliency of one scale", "saliency of two scales", "saliency, sliding", "onset case_f",
}  # fmt: skip
PARAMETERS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in GROUPS]


@pytest.mark.parametrize("group", PARAMETERS)
def test_equals_the_samples(group):
    pattern, produce = GROUPS[group]
    ours, wanted = produce(), names_matching(pattern) - NOT_OURS
    assert ours.keys() == wanted and wanted
    worst = max((compare(name, tensor), name) for name, tensor in ours.items())
    print(f"{group}: {len(ours)} tensors, worst {worst[0]:.1e} ({worst[1]})")


@pytest.mark.parametrize("group", PARAMETERS)
def test_equals_the_whole(group):
    """Every value, where the full recorded outputs are at hand."""
    pattern, produce = GROUPS[group]
    full = {name: recorded(name) for name in names_matching(pattern) - NOT_OURS}
    for name, ours in produce().items():
        assert relative_error(ours, full[name]) < bound_of(name), name


def test_every_recorded_tensor_is_compared_once():
    """By the groups' patterns; each group's test fails where its run gives other names than its pattern matches."""
    owners = {name: [] for name in published()["tensors"]}
    for group, (pattern, _) in GROUPS.items():
        for name in names_matching(pattern):
            owners[name].append(group)
    assert {name for name, groups in owners.items() if not groups} == NOT_OURS
    assert {name: groups for name, groups in owners.items() if len(groups) > 1} == {}


def test_the_samples_are_small_enough_to_ship():
    assert PATH.stat().st_size < 300_000 and len(published()["tensors"]) > 250


def test_filler_check_values():
    """The published rule's own check values: splitmix64, the sum of four fields, 1 / sqrt(fan in) and 0.1."""
    assert fill("a.weight", (2, 2)).flatten().tolist() == pytest.approx(FILLED_WEIGHT, abs=1e-7)
    assert fill("a.bias", (2,)).tolist() == pytest.approx(FILLED_BIAS, abs=1e-7)


@pytest.mark.parametrize(("name", "frames"), [("clip", 8), pytest.param("clip16", 16, marks=pytest.mark.slow)])
def test_the_clips_are_the_recorded_ones(name, frames):
    clip = runs_salvit.clip(name, frames)
    assert zlib.crc32(clip.numpy().tobytes()) == published()["salvit360"][f"{name}_crc32"]


FILLED_WEIGHT = (0.004111387301236391, 1.2795010805130005, -0.046981941908597946, 0.5133627653121948)
FILLED_BIAS = (-0.02979869581758976, -0.16091559827327728)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_training_losses_and_gradient_norms(kind):
    values, (_, losses, norms) = published()["training"][kind], runs_svg.training_step(kind)
    assert losses == pytest.approx((values["loss_video"], values["loss_audio"]), rel=1e-5)
    assert key_digest({name: () for name in norms}) == values["grad_names"]
    wanted = dict(zip(sorted(norms), values["grad_norms"], strict=True))
    largest = max(wanted.values())
    errors = {name: abs(norms[name] - w) / max(w, 1e-5 * largest) for name, w in wanted.items()}
    print(f"{kind}: {len(errors)} gradient norms, worst {max(errors.values()):.1e}")
    assert max(errors.values()) < 1e-3, max(errors, key=errors.get)


def test_timesteps():
    kept = published()["schedulers"]
    assert len(kept["timesteps"]) > 80
    for key, wanted in kept["timesteps"].items():
        modality, steps, label = key.split("/", 2)
        schedule = NoiseSchedule.of(runs_svg.scheduler(modality))
        assert list(ddim_timesteps(schedule, int(steps), kept["gammas"][label])) == wanted, key


def _digest(state) -> dict:
    return key_digest({name: tuple(t.shape) for name, t in state.items()})


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_names_and_shapes_tiny(kind):
    keys = published()["keys"]
    assert _digest(published_connector_state(kind)) == keys[f"tiny/{kind}/unet_svg"]
    for name, unet in zip(("unet_v", "unet_a"), base_unets(), strict=True):
        assert _digest(unet.state_dict()) == keys[f"tiny/base/{name}"]


@pytest.mark.parametrize("kind", ["additive", "attn"])
def test_names_shapes_and_parameters_full_size(kind):
    """1312.7 M, 416.0 M and, for CMC-PE, 467.7 M parameters."""
    keys, model = published()["keys"], full_size_on_meta(kind)
    wanted, by_part = (published()["networks"][key][kind] for key in ("full_parameters", "full_connector_parts"))
    parts = {"unet_v": model.unet_v, "unet_a": model.unet_a, "unet_svg": model.connectors}
    assert {name: sum(p.numel() for p in m.parameters()) for name, m in parts.items()} == wanted
    state = to_published_state(model.connectors)
    assert _digest(state) == keys[f"full/{kind}/unet_svg"]
    assert {p: sum(t.numel() for n, t in state.items() if n.startswith(f"{p}.")) for p in by_part} == by_part
    for name in ("unet_v", "unet_a"):
        assert _digest(parts[name].state_dict()) == keys[f"full/base/{name}"]
    if kind == "additive":
        assert [round(wanted[name] / 1e6, 1) for name in parts] == [1312.7, 416.0, 467.7]


def test_site_shapes_full_size():
    """32 frames of 256 px with 4 s of sound: where FiLM will be as large as the features."""
    sites = full_size_on_meta("additive").site_shapes((32, 32, 32), (104, 16))
    sites = {name: shape for name, shape in sites.items() if name not in INPUTS}
    kept = published()["networks"]["full_site_shapes"]
    assert len(kept) == len(sites) == 8
    for name, (_, *shape) in kept.items():
        modality, direction, index = name.removeprefix("connector_in_").split(".")
        assert list(sites[f"{modality}.{('down', 'up')[int(direction)]}.{index}"]) == shape, name


# Never read by the published forward pass, yet in its files.
UNREAD = {"posemb.posemb.0.weight": (16, 5, 3, 3), "posemb.posemb.1.weight": (16, 7, 7),
          "posemb.posemb.1.bias": (16, 7, 7), "posemb.posemb.3.weight": (32, 16, 3, 3),
          "posemb.posemb.4.weight": (32, 4, 4), "posemb.posemb.4.bias": (32, 4, 4)}  # fmt: skip


@pytest.mark.parametrize("variant", ["vst", "vac"])
def test_saliency_names_and_shapes(variant):
    kept = published()["salvit360"][variant]
    assert key_digest(runs_salvit.published_shapes(variant) | UNREAD) == kept["keys"]
    unread = sum(fill(name, shape).numel() for name, shape in UNREAD.items())
    assert sum(p.numel() for p in runs_salvit.network(variant).parameters()) == kept["params"] - unread


@pytest.mark.slow
def test_sliding_windows_encode_each_frame_once():
    """16 frames of 18 patches; the published loop encodes 8 for each of its windows."""
    assert runs_salvit.sliding()[1] == 16 * 18


def test_the_record_is_what_the_full_outputs_give():
    """An edited published.json is noticed."""
    from golden.store import summarise

    for name in sorted(published()["tensors"])[::7]:
        assert summarise(name, recorded(name)) == published()["tensors"][name], name
    assert published()["training"]["additive"]["loss_audio"] == read_json("train_tiny.json")["additive"]["loss_audio"]
