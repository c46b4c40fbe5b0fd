"""Test generation from a start clip, with picture or sound held, in other precisions and in little memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.caption import typed_caption
from con360.control import load_control
from con360.errors import InputError
from con360.models.precision import FLOAT32_PARTS, working_dtype
from con360.pipeline import conditions_of, crop_view, default_settings, generate, preview_frame
from con360.records import AV, Sound, StartClip
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model

SECONDS = 0.5
SPEC = ClipSpec(SECONDS)


@pytest.fixture(scope="module")
def bundle():
    return load_joint_model(model_folder())


@pytest.fixture(scope="module")
def control():
    return load_control(model_folder() / "control.safetensors")


@pytest.fixture(scope="module")
def given():
    """Return (conditions, the true view as a start clip)."""
    scene = demo_scene()
    panorama = scene.panorama(128, SPEC)
    viewpoint = manual_viewpoint(0.0, 0.0, 90.0, panorama.num_frames)
    conditions = conditions_of(panorama, scene.saliency(64, SPEC), viewpoint, typed_caption("a red disc hums"))
    view = crop_view(panorama, viewpoint.track, 64)
    return conditions, StartClip(view.frames, view.sound)


def made(model, control, given, start=None, device=None, **changes):
    settings = default_settings(model, **{"steps": 4, "seed": 5, **changes})
    return generate(model, control, given[0], settings, seconds=SECONDS, start=start, device=device)


def test_more_denoising_keeps_less_of_the_start(bundle, control, given):
    start = given[1]
    distances = []
    for strength in (0.25, 0.5, 1.0):
        clip = made(bundle, control, given, start, denoise_video=strength, denoise_audio=strength)
        distances.append(float((clip.frames - start.frames).abs().mean()))
    assert distances[0] < distances[1] < distances[2]
    from_noise = made(bundle, control, given)
    assert torch.equal(clip.frames, from_noise.frames) and "start" not in clip.stage_seconds


@pytest.mark.parametrize("hold", ["picture", "sound"])
def test_a_held_modality_is_kept_to_the_sample(bundle, control, given, hold):
    start = given[1]
    clip = made(bundle, control, given, start, hold=hold)
    free = made(bundle, control, given)
    kept = {"picture": torch.equal(clip.frames, start.frames),
            "sound": torch.equal(clip.sound.waveform, start.sound.waveform)}  # fmt: skip
    assert kept == {name: name == hold for name in kept}
    assert not torch.equal(clip.frames, free.frames) and not torch.equal(clip.sound.waveform, free.sound.waveform)


def test_starts_are_brought_to_the_models_size_and_rate(bundle, control, given):
    """A wide picture is cut to its middle; stereo at 44.1 kHz becomes mono at 16 kHz."""
    frames, sound = given[1].frames, given[1].sound
    wide = torch.cat([frames * 0, frames, frames * 0], dim=-1)
    clip = made(bundle, control, given, StartClip(wide), hold="picture")
    assert torch.equal(clip.frames, frames)
    stereo = Sound(torch.ones(2, round(44100 * SECONDS)) * torch.tensor([[0.25], [0.75]]), 44100, "stereo")
    clip = made(bundle, control, given, StartClip(sound=stereo), hold="sound")
    assert clip.sound.waveform.shape == (1, 8000) and clip.sound.sample_rate_hz == 16000
    assert clip.sound.waveform[0, 1000:-1000].mean() == pytest.approx(0.5, abs=1e-3)
    nearly = Sound(sound.waveform[:, :-1000], 16000)  # less than a frame short: padded with silence
    assert not made(bundle, control, given, StartClip(sound=nearly), hold="sound").sound.waveform[0, -1000:].any()


@pytest.mark.parametrize(
    ("cut", "changes", "says"),
    [
        (lambda s: StartClip(s.frames[:3], s.sound), {"hold": "picture"}, "3 frames; 0.5 s at 8 fps needs 4"),
        (lambda s: StartClip(None, Sound(s.sound.waveform[:, :4000], 16000)), {"hold": "sound"}, "lasts 0.25 s"),
        (lambda s: StartClip(None, s.sound), {"hold": "picture"}, "no picture to hold"),
        (lambda s: None, {"denoise_audio": 0.5}, "no sound to start from"),
    ],
    ids=["too few frames", "too short", "nothing to hold", "nothing to start from"],
)
def test_starts_that_do_not_fit_are_named(bundle, control, given, cut, changes, says):
    with pytest.raises(InputError, match=says):
        made(bundle, control, given, cut(given[1]), **changes)


def test_few_steps_of_dpm_give_a_clip(bundle, control, given):
    first, again = (made(bundle, control, given, sampler="dpm++", gamma=1.5) for _ in range(2))
    assert torch.equal(first.frames, again.frames) and torch.equal(first.sound.waveform, again.sound.waveform)
    assert not torch.equal(first.frames, made(bundle, control, given, gamma=1.5).frames)


@pytest.mark.parametrize(("begins", "most"), [(False, 1e-5), (True, 1e-4)], ids=["from noise", "from a start"])
def test_low_memory_gives_the_same_clip(control, given, begins, most):
    """Sums in another order round differently, and few pixels at an edge enlarge that; not so in float64."""
    model, start = load_joint_model(model_folder(), dtype=torch.float64), given[1] if begins else None
    changes = {"denoise_video": 0.75, "denoise_audio": 0.75} if begins else {}
    usual = made(model, control, given, start, **changes)
    low = made(model, control, given, start, device="cpu", memory="low", **changes)
    frames, sound = (usual.frames - low.frames).abs(), (usual.sound.waveform - low.sound.waveform).abs()
    # The codecs stay in float32, the one that encodes the start as well.
    assert frames.mean() < 1e-6 and frames.max() < most and sound.max() < 1e-6


def test_bfloat16_stays_near_float32(bundle, control, given):
    """Mean difference under 0.5 % of full scale in the picture, under 2 % of its level in the sound."""
    half = load_joint_model(model_folder(), dtype=torch.bfloat16)
    a, b = made(bundle, control, given), made(half, control, given)
    assert (a.frames - b.frames).abs().mean() < 0.005
    level = a.sound.waveform.square().mean().sqrt()
    assert (a.sound.waveform - b.sound.waveform).square().mean().sqrt() < 0.02 * level
    assert not torch.equal(a.frames, b.frames)


def test_codecs_stay_in_float32():
    model = load_joint_model(model_folder(), dtype=torch.bfloat16)
    assert all({p.dtype for p in getattr(model, part).parameters()} == {torch.float32} for part in FLOAT32_PARTS)
    for part in (model.unet, model.text_encoder_v, model.text_encoder_a):
        assert {p.dtype for p in part.parameters()} == {torch.bfloat16}


def test_precisions_by_name():
    assert working_dtype("auto", "cpu") == torch.float32 and working_dtype("bfloat16", "cpu") == torch.bfloat16
    assert working_dtype("float16", "cuda") == torch.float16
    with pytest.raises(InputError, match="float16 is for GPUs"):
        working_dtype("float16", "cpu")
    with pytest.raises(InputError, match="'half' is not known"):
        working_dtype("half", "cpu")


def test_a_preview_is_the_middle_frame_of_the_estimate():
    model = make_tiny_joint_model()
    x0 = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = preview_frame(model, AV(x0))
    assert picture.shape == (3, 32, 32) and 0 <= picture.min() and picture.max() <= 1
    changed = x0.clone()
    changed[:, :, 2] += 1
    assert not torch.equal(preview_frame(model, AV(changed)), picture)
    changed = x0.clone()
    changed[:, :, [0, 1, 3, 4]] += 1
    assert torch.equal(preview_frame(replace(model), AV(changed)), picture)
