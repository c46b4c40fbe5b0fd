"""Test the whole method over a tiny untrained joint model: its conditions, refusals, notices and exact lengths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_heads import random_head
from tiny_model import make_tiny_joint_model
from tiny_workflow import write_model_files

from con360.caption import typed_caption
from con360.control import ControlConfig, ControlModule, LoadedControl, load_control
from con360.errors import InputError
from con360.models.joint import JointModel
from con360.pipeline import (
    Stopwatch,
    conditions_of,
    control_saliency,
    crop_view,
    default_settings,
    drawing_notices,
    generate,
)
from con360.records import Conditions, PanoramaClip, Sound, View, ViewTrack
from con360.saliency.predict import clip_saliency
from con360.scenes import demo_scene
from con360.sound.headphones import to_ears
from con360.sound.rotation import turn
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint, viewpoints
from con360.weights.find import model_folder
from con360.weights.parts import model_parts

SECONDS = 0.5
SPEC = ClipSpec(SECONDS)


@pytest.fixture(scope="module")
def model() -> JointModel:
    return make_tiny_joint_model()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> LoadedControl:
    models: Path = tmp_path_factory.mktemp("models")
    write_model_files(models)
    return load_control(models / "con360_control" / "random.safetensors")


@pytest.fixture(scope="module")
def panorama() -> PanoramaClip:
    return demo_scene().panorama(64, SPEC)


def conditions(panorama: PanoramaClip, yaw: float = 0.0, fov: float = 90.0, caption: str = "a red disc") -> Conditions:
    viewpoint = manual_viewpoint(yaw, 0.0, fov, panorama.num_frames)
    return conditions_of(panorama, demo_scene().saliency(64, SPEC), viewpoint, typed_caption(caption))


def settings(model: JointModel, **overrides):
    return default_settings(model, **{"steps": 2, "cfg_video": 2.0, "cfg_audio": 2.0, **overrides})


def test_lengths_are_exact(model: JointModel, control: LoadedControl, panorama: PanoramaClip) -> None:
    clip = generate(model, control, conditions(panorama), settings(model, seed=7), seconds=SECONDS)
    assert clip.frames.shape == (4, 3, 32, 32) and clip.fps == 8.0
    assert clip.frames.min() >= 0 and clip.frames.max() <= 1
    assert clip.sound.waveform.shape == (1, 8000) and clip.sound.sample_rate_hz == 16000
    assert clip.seed == 7
    assert list(clip.stage_seconds) == ["text", "control", "sampling", "decoding"]


def test_a_seed_determines_the_clip(model: JointModel, control: LoadedControl, panorama: PanoramaClip) -> None:
    given = conditions(panorama)
    first, again, other = (
        generate(model, control, given, settings(model, seed=seed), seconds=SECONDS) for seed in (1, 1, 2)
    )
    assert torch.equal(first.frames, again.frames) and torch.equal(first.sound.waveform, again.sound.waveform)
    assert not torch.equal(first.frames, other.frames)
    assert not torch.equal(first.sound.waveform, other.sound.waveform)


def test_every_condition_steers_picture_and_sound(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    def made(given: Conditions) -> list[torch.Tensor]:
        clip = generate(model, control, given, settings(model), seconds=SECONDS)
        return [clip.frames, clip.sound.waveform]

    base = conditions(panorama)
    reference = made(base)
    shifted = replace(base.saliency, maps=base.saliency.maps.roll(20, -1))
    changed = (
        conditions(panorama, yaw=90.0), conditions(panorama, fov=110.0), conditions(panorama, caption="a blue ring"),
        replace(base, saliency=shifted),
    )  # fmt: skip
    for given in changed:
        assert not any(torch.equal(a, b) for a, b in zip(made(given), reference, strict=True))


def test_another_shape_takes_the_square_around_it_and_says_so(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    square = conditions(panorama)
    tall = manual_viewpoint(0.0, 0.0, 90.0, panorama.num_frames, aspect=9 / 16)
    given = conditions_of(panorama, square.saliency, tall, square.caption)
    assert not torch.equal(given.basd.maps, square.basd.maps)
    wanted = generate(model, control, square, settings(model), seconds=SECONDS)
    clip = generate(model, control, given, settings(model), seconds=SECONDS)
    assert torch.equal(clip.frames, wanted.frames) and torch.equal(clip.sound.waveform, wanted.sound.waveform)
    said = set(clip.notices) - set(wanted.notices)
    assert said == {"the model makes square pictures: the square around the view was generated"}


def test_a_roll_steers_and_is_said_to_be_untrained(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    level = conditions(panorama)
    rolled = manual_viewpoint(0.0, 0.0, 90.0, panorama.num_frames, roll_deg=45.0)
    given = conditions_of(panorama, level.saliency, rolled, level.caption)
    clip = generate(model, control, given, settings(model), seconds=SECONDS)
    assert not torch.equal(clip.frames, generate(model, control, level, settings(model), seconds=SECONDS).frames)
    assert any("the view is rolled" in notice for notice in clip.notices)


def test_no_control_equals_control_at_strength_zero(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    given = conditions(panorama)
    without = generate(model, None, given, settings(model), seconds=SECONDS)
    zero = generate(model, control, given, settings(model), seconds=SECONDS, strengths={"saliency": 0.0, "basd": 0.0})
    assert torch.equal(without.frames, zero.frames) and torch.equal(without.sound.waveform, zero.sound.waveform)


def test_progress_is_reported_and_can_cancel(model: JointModel, panorama: PanoramaClip) -> None:
    told, previews = [], []
    generate(
        model, None, conditions(panorama), settings(model, steps=3), seconds=SECONDS,
        progress=lambda done, total, what: told.append((done, total, what)),
        on_step=lambda step, total, x0: previews.append((step, total, tuple(x0.video.shape))),
    )  # fmt: skip
    assert told[:3] == [(1, 3, "sampling"), (2, 3, "sampling"), (3, 3, "sampling")]
    assert told[-1] == (4, 4, "decoding frames")
    assert previews == [(i, 3, (1, 4, 4, 8, 8)) for i in (1, 2, 3)]

    class Stop(Exception):
        pass

    def stop(step: int, *_: object) -> None:
        previews.append(step)
        raise Stop

    with pytest.raises(Stop):
        generate(model, None, conditions(panorama), settings(model, steps=3), seconds=SECONDS, on_step=stop)
    assert previews[3:] == [1]


def test_conditions_of_another_length_are_refused(model: JointModel, panorama: PanoramaClip) -> None:
    with pytest.raises(InputError, match="has 4 frames; 1 s at 8 fps needs 8"):
        generate(model, None, conditions(panorama), settings(model), seconds=1.0)


def test_a_field_of_view_outside_training_is_refused_only_with_control(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    with pytest.raises(InputError, match="field of view is 40°.*60° to 120°"):
        generate(model, control, conditions(panorama, fov=40.0), settings(model), seconds=SECONDS)
    generate(model, None, conditions(panorama, fov=40.0), settings(model, steps=1), seconds=SECONDS)


def test_notices_name_unknown_words_and_a_foreign_control(
    model: JointModel, control: LoadedControl, panorama: PanoramaClip
) -> None:
    given = conditions(panorama, caption="a red giraffe")
    clip = generate(model, control, given, settings(model, steps=1), seconds=SECONDS)
    assert len(clip.notices) == 1 and "giraffe" in clip.notices[0]
    foreign = replace(control, base="another model", base_fingerprint="0" * 16)
    clip = generate(model, foreign, conditions(panorama), settings(model, steps=1), seconds=SECONDS)
    assert len(clip.notices) == 1 and "trained over 'another model'" in clip.notices[0]


def test_a_narrow_model_says_what_it_draws_except_for_scenes(model: JointModel, panorama: PanoramaClip) -> None:
    narrow = replace(model, name="narrow", metadata={**model.metadata, "draws": "spoons"})
    given = conditions(panorama)
    told = generate(narrow, None, given, settings(narrow, steps=1), seconds=SECONDS).notices
    assert told == ("the model narrow draws spoons, whatever the footage shows",)
    assert drawing_notices(model, given.caption, settings(model)) == (), "this model's folder names nothing"
    assert drawing_notices(narrow, given.caption, settings(narrow, hold="picture")) == ()
    assert drawing_notices(narrow, demo_scene().caption(), settings(narrow)) == ()


def test_the_built_in_models_folder_says_what_it_draws() -> None:
    assert model_parts(model_folder()).metadata["draws"] == "coloured shapes of 64 px"


def test_broken_weights_raise_an_error(panorama: PanoramaClip) -> None:
    model = make_tiny_joint_model()
    model.vocoder.conv_post.weight.data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="not finite"):
        generate(model, None, conditions(panorama), settings(model, steps=1), seconds=SECONDS)


def test_settings_default_to_the_models(model: JointModel) -> None:
    recommending = replace(model, metadata={"defaults": {"steps": 12, "cfg_video": 2.0}})
    assert default_settings(recommending, steps=None, seed=3).steps == 12
    assert default_settings(recommending, steps=5).steps == 5
    assert default_settings(recommending, cfg_video=None).cfg_video == 2.0
    assert default_settings(model).steps == 50


def test_a_control_reads_maps_of_its_own_kind(panorama: PanoramaClip) -> None:
    control = LoadedControl(ControlModule(ControlConfig({"video.up.0": 8})), saliency="training-free")
    found = clip_saliency(panorama)
    read, notices = control_saliency(panorama, control, found)
    assert read.method == "training-free" and notices == ()
    assert torch.equal(read.maps, clip_saliency(panorama, "training-free").maps)
    same, _ = control_saliency(panorama, replace(control, saliency="multi-cue"), found)
    assert same is found and control_saliency(panorama, None, found) == (found, ())
    kept, notices = control_saliency(panorama, replace(control, saliency="SalViT360 one scale (w.pt)"), found)
    assert kept is found and "SalViT360 one scale (w.pt)" in notices[0]


def test_without_a_caption_nothing_is_guessed(panorama: PanoramaClip) -> None:
    saliency = demo_scene().saliency(64, SPEC)
    given = conditions_of(panorama, saliency, viewpoints(saliency, 8.0)[0])
    assert given.caption.origin == "plain" and given.caption.short == ""
    assert "ambix sound" in given.caption.long and "yaw" in given.caption.long
    assert given.track == given.basd.track and given.basd.maps.shape == saliency.maps.shape


def test_the_true_view_is_the_scene_rendered_there(panorama: PanoramaClip) -> None:
    track = ViewTrack.still(View(30.0, 5.0, 80.0), 4)
    scene = demo_scene()
    wide = scene.panorama(512, SPEC)
    clip = crop_view(wide, track, 64)
    assert (clip.frames - scene.view_frames(track, 64, SPEC)).abs().mean() < 0.01
    assert torch.allclose(clip.sound.waveform, scene.view_sound(track, SPEC).waveform, atol=1e-6)
    assert clip.notices == wide.notices


def test_the_true_view_with_stereo_or_no_sound(panorama: PanoramaClip) -> None:
    track = ViewTrack.still(View(30.0), 4)
    stereo = torch.stack((torch.full((22050,), 0.5), torch.full((22050,), 0.1)))
    clip = crop_view(replace(panorama, sound=Sound(stereo, 44100, "stereo")), track, 16)
    assert torch.allclose(clip.sound.waveform, torch.full((1, 22050), 0.3)) and clip.sound.sample_rate_hz == 44100
    assert "same for every view" in clip.notices[-1]
    silent = crop_view(replace(panorama, sound=None), track, 16)
    assert silent.sound.waveform.shape == (1, 8000) and not silent.sound.waveform.any()
    with pytest.raises(InputError, match="3 frames and the clip 4"):
        crop_view(panorama, ViewTrack.still(View(0.0), 3), 16)


def test_the_true_view_on_headphones(panorama: PanoramaClip) -> None:
    track = ViewTrack.still(View(30.0, 5.0), 4)
    clip = crop_view(panorama, track, 16, "headphones")
    wanted = to_ears(turn(panorama.sound, 30.0, 5.0))
    assert clip.sound.layout == "stereo" and torch.allclose(clip.sound.waveform, wanted.waveform, atol=1e-5)
    assert crop_view(panorama, track, 16, "omni").sound.waveform.shape[0] == 1
    with pytest.raises(InputError, match="headphones need Ambisonics"):
        crop_view(replace(panorama, sound=Sound(torch.zeros(2, 900), 16000, "stereo")), track, 16, "headphones")


def test_stopwatch_adds_up_what_runs_twice() -> None:
    watch = Stopwatch()
    for name in ("a", "b", "a"):
        with watch.stage(name):
            pass
    assert list(watch.seconds) == ["a", "b"] and all(s >= 0 for s in watch.seconds.values())


def test_a_control_with_a_head_gives_the_sound_its_directions(model, control, panorama):
    given = conditions(panorama)
    settings = default_settings(model, steps=1, seed=3)
    plain = generate(model, control, given, settings, seconds=SECONDS)
    hearing = replace(control, field_head=random_head())
    made = generate(model, hearing, given, settings, seconds=SECONDS)
    assert plain.directions is None and "directions" not in plain.stage_seconds
    assert torch.equal(made.frames, plain.frames) and torch.equal(made.sound.waveform, plain.sound.waveform)
    assert made.directions.vectors.shape == (13, 64, 3) and made.stage_seconds["directions"] > 0
    assert any("reads the map 'colours'" in notice for notice in made.notices)
    viewpoint = manual_viewpoint(0.0, 0.0, 90.0, panorama.num_frames)
    maps = demo_scene().saliency(64, SPEC)
    named = conditions_of(panorama, maps, viewpoint, typed_caption("a red disc"), control=hearing)
    assert set(named.maps) == {"colours"} and not conditions_of(panorama, maps, viewpoint, control=control).maps
