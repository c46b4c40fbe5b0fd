"""Test views of one scene over one sound, over a small random model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.anew import views
from con360.anew.views import generate_views
from con360.caption import typed_caption
from con360.errors import InputError
from con360.models.codecs import MelCodec
from con360.pipeline import conditions_of, default_settings, generate
from con360.placing.generated import heard_from, sound_around
from con360.records import SourcePoint, SourceTrack
from con360.scenes import demo_scene
from con360.sound.fields import field_of_track
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint

SECONDS = 0.5
SPEC = ClipSpec(SECONDS)


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model()


@pytest.fixture(scope="module")
def scene():
    """Return the conditions of three views."""
    made = demo_scene()
    panorama, saliency = made.panorama(64, SPEC), made.saliency(32, SPEC)
    looks = [manual_viewpoint(yaw, 0.0, 90.0, panorama.num_frames) for yaw in (0.0, 90.0, 180.0)]
    captions = ("a red disc humming", "a green ring", "a blue square")
    return [conditions_of(panorama, saliency, look, typed_caption(words))
            for look, words in zip(looks, captions, strict=True)]  # fmt: skip


def settings(model, **changes):
    return default_settings(model, **{"steps": 2, "seed": 5, **changes})


def test_further_pictures_are_made_for_the_first_views_very_sound(model, scene, monkeypatch) -> None:
    monkeypatch.setattr(MelCodec, "encode", None)
    first, second, third = generate_views(model, None, scene, settings(model), seconds=SECONDS)
    alone = generate(model, None, scene[0], settings(model), seconds=SECONDS)
    assert torch.equal(first.frames, alone.frames) and torch.equal(first.sound.waveform, alone.sound.waveform)
    for further in (second, third):
        assert torch.equal(further.sound.waveform, first.sound.waveform)
        assert torch.equal(further.latents.audio, first.latents.audio)
        assert not torch.equal(further.frames, first.frames)
    assert not torch.equal(second.frames, third.frames)
    # Without the held sound the picture hears another one.
    free = generate(model, None, scene[1], settings(model), seconds=SECONDS)
    assert not torch.equal(free.frames, second.frames)


def test_views_come_one_by_one(model, scene) -> None:
    steps = []
    views = generate_views(
        model, None, scene, settings(model), seconds=SECONDS, on_step=lambda *told: steps.append(told)
    )
    assert steps == []
    next(views)
    assert len(steps) == 2


@pytest.mark.slow
def test_every_view_has_the_one_sounds_directions(model, scene, monkeypatch) -> None:
    straight = field_of_track(SourceTrack.still(SourcePoint(0.0)), SECONDS)

    def placed(*arguments, **named):
        made = generate(*arguments, **named)
        return replace(made, directions=straight if named["start"] is None else None)

    monkeypatch.setattr(views, "generate", placed)
    clips = list(generate_views(model, None, scene, settings(model), seconds=SECONDS))
    assert all(clip.directions is straight for clip in clips)
    around = [sound_around(clip, lambda: ())[0] for clip in clips]
    heard = [heard_from(sound, "view", conditions.track, clip.fps).waveform
             for sound, clip, conditions in zip(around, clips, scene, strict=True)]  # fmt: skip
    level = [float(wave.square().mean().sqrt()) for wave in heard]
    assert level[0] > 1.5 * level[2], "the microphone hears what is behind it by 6 dB less"


@pytest.mark.parametrize(
    ("count", "changes", "says"),
    [
        (0, {}, "0 views were asked for; choose 1 to 16"),
        (17, {}, "17 views were asked for; choose 1 to 16"),
        (2, {"hold": "sound"}, "hold nothing"),
        (2, {"denoise_video": 0.5}, "leave out starts"),
    ],
)
def test_what_cannot_be_views_of_one_scene_is_named_at_once(model, scene, count, changes, says) -> None:
    with pytest.raises(InputError, match=says):
        generate_views(model, None, (scene * 6)[:count], settings(model, **changes), seconds=SECONDS)


def test_a_view_that_does_not_fit_is_named_before_any_is_made(model, scene) -> None:
    short = replace(scene[1], saliency=replace(scene[1].saliency, maps=scene[1].saliency.maps[:2]))
    with pytest.raises(InputError, match="the saliency has 2 frames"):
        generate_views(model, None, [scene[0], short], settings(model), seconds=SECONDS)
