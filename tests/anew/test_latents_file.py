"""Test files of latents: what comes back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_joint_model

from con360.anew.latents_file import read_latents, read_latents_header, save_latents
from con360.caption import typed_caption
from con360.errors import InputError
from con360.pipeline import conditions_of, default_settings, generate
from con360.records import AV, SourcePoint, SourceTrack, View
from con360.scenes import demo_scene
from con360.sound.fields import field_of_track
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint
from con360.weights.files import read_header

SECONDS = 0.5


@pytest.fixture(scope="module")
def model():
    return make_tiny_joint_model()


@pytest.fixture(scope="module")
def made(model):
    """Return (clip, settings, conditions)."""
    scene, spec = demo_scene(), ClipSpec(SECONDS)
    panorama = scene.panorama(64, spec)
    look = manual_viewpoint(20.0, 10.0, 80.0, panorama.num_frames)
    conditions = conditions_of(panorama, scene.saliency(32, spec), look, typed_caption("a red disc humming"))
    settings = default_settings(model, steps=1, seed=2**64 - 1)
    return generate(model, None, conditions, settings, seconds=SECONDS), settings, conditions


@pytest.fixture
def written(model, made, tmp_path: Path) -> Path:
    save_latents(tmp_path / "clip.safetensors", made[0], model, *made[1:])
    return tmp_path / "clip.safetensors"


def test_a_clip_comes_back_bit_for_bit(model, made, written) -> None:
    file, clip = read_latents_header(written), made[0]
    again = read_latents(file, model)
    assert torch.equal(again.frames, clip.frames) and torch.equal(again.sound.waveform, clip.sound.waveform)
    assert torch.equal(again.latents.video, clip.latents.video)
    assert (again.seed, file.caption, file.seconds) == (2**64 - 1, "a red disc humming", SECONDS)
    assert file.settings["steps"] == 1 and again.directions is None
    file.check_view(View(20.0, 10.0, 80.0))
    with pytest.raises(InputError, match=r"looks to yaw 20°, pitch 10°, .* asked for to yaw 21°"):
        file.check_view(View(21.0, 10.0, 80.0))


def test_directions_come_back(model, made, tmp_path) -> None:
    field = field_of_track(SourceTrack.still(SourcePoint(30.0)), SECONDS)
    save_latents(tmp_path / "placed.safetensors", replace(made[0], directions=field), model, *made[1:])
    again = read_latents(read_latents_header(tmp_path / "placed.safetensors"), model).directions
    assert torch.equal(again.vectors, field.vectors) and again.row_s == field.row_s


def test_another_model_is_named(written) -> None:
    with pytest.raises(InputError, match="holds latents of 'tiny-random', and 'tiny-random' has other weights"):
        read_latents(read_latents_header(written), make_tiny_joint_model(1))


def rewritten(path: Path, metadata: dict[str, str], **tensors: torch.Tensor) -> Path:
    save_file({**load_file(path), **tensors}, path, metadata={**read_header(path).metadata, **metadata})
    return path


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"format": "con360-control"}, "holds no latents of a clip"),
        ({"format_version": "2"}, "has version '2' of latents; this program reads 1"),
        ({"seconds": "soon"}, "metadata of clip.safetensors is damaged"),
        ({"settings": "[]x"}, "metadata of clip.safetensors is damaged"),
        ({"settings": '{"magic": 1}'}, "metadata of clip.safetensors is damaged"),
        ({"settings": '{"steps": -1}'}, "steps is -1"),
        ({"view": "[1, 2]"}, "metadata of clip.safetensors is damaged"),
    ],
)
def test_files_of_another_kind_are_named_before_anything_is_loaded(written, metadata, says) -> None:
    with pytest.raises(InputError, match=says):
        read_latents_header(rewritten(written, metadata))


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(4, 3, 8, 8), r"video latents of shape \(4, 3, 8, 8\); wanted \(4, 4, 8, 8\)"),
        (torch.full((4, 4, 8, 8), torch.nan), "hold NaN or infinity"),
    ],
)
def test_tensors_that_are_no_clip_are_named(model, written, tensor, says) -> None:
    with pytest.raises(InputError, match=says):
        read_latents(read_latents_header(rewritten(written, {}, video=tensor)), model)


def test_cut_and_missing_files_are_named(written, tmp_path) -> None:
    written.write_bytes(written.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut off"):
        read_latents_header(written)
    with pytest.raises(InputError, match="there is no weight file"):
        read_latents_header(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"does not end in \.safetensors"):
        read_latents_header(tmp_path / "clip.mp4")


def test_a_clip_without_latents_is_not_written(model, made, tmp_path) -> None:
    with pytest.raises(InputError, match="no latents to write"):
        save_latents(tmp_path / "none.safetensors", replace(made[0], latents=AV()), model, *made[1:])
    assert list(tmp_path.iterdir()) == []
