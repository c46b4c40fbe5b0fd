"""The layer that adds meaning to the sound's class vector: nothing at first, learnt alone, and over its own encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_meaning import make_tiny_meaning
from tiny_model import make_tiny_joint_model

from con360.control import fingerprint
from con360.errors import InputError
from con360.meaning.conditioned import conditioned
from con360.models.class_vector import ClassVector
from con360.models.joint import JointModel
from con360.records import BasdMaps, Conditions, SaliencyMaps, SceneCaption, View, ViewTrack
from con360.weights.class_vector import save_class_vector
from train.meaning.condition import ConditionJob, ConditionRunConfig
from train.meaning.scenes import Clip


@pytest.fixture(scope="module")
def tiny() -> JointModel:
    return make_tiny_joint_model()


def saved(model: JointModel, folder: Path, weight: float, **other: int) -> Path:
    layer = ClassVector(**{"size": 8, "width": model.text_encoder_a.config.projection_dim, **other})
    torch.nn.init.constant_(layer.linear.weight, weight)
    save_class_vector(layer, folder / "layer.safetensors", fingerprint(make_tiny_meaning(model).network), {})
    return folder / "layer.safetensors"


def conditions(caption: str) -> Conditions:
    maps = torch.rand(4, 16, 32)
    views = ViewTrack((View(0.0),) * 4)
    return Conditions(SaliencyMaps(maps, ""), BasdMaps(maps, views), SceneCaption(caption))


def test_it_adds_to_the_caption_alone_and_nothing_at_zero(tiny, tmp_path):
    encoder = make_tiny_meaning(tiny)
    plain = tiny.encode(conditions("a red disc"), "a blue ring")
    zero = conditioned(tiny, saved(tiny, tmp_path, 0.0), encoder).encode(conditions("a red disc"), "a blue ring")
    assert torch.equal(zero.given.audio, plain.given.audio)
    path = saved(tiny, tmp_path, 0.5)
    some = conditioned(tiny, path, encoder).encode(conditions("a red disc"), "a blue ring")
    added = 0.5 * encoder.read_text(["a red disc"]).sum()
    assert torch.allclose(some.given.audio, plain.given.audio + added, atol=1e-3)
    assert torch.equal(some.without.audio, plain.without.audio) and torch.equal(some.given.video, plain.given.video)
    empty = conditioned(tiny, path, encoder).encode(conditions(""))
    assert torch.equal(empty.given.audio, tiny.encode(conditions("")).given.audio)


def test_what_does_not_belong_together_is_named(tiny, tmp_path):
    with pytest.raises(InputError, match="trained over another encoder"):
        conditioned(tiny, saved(tiny, tmp_path, 0.0), make_tiny_meaning(tiny, 1))
    with pytest.raises(InputError, match="gives 5 values"):
        conditioned(tiny, saved(tiny, tmp_path, 0.0, width=5), make_tiny_meaning(tiny))
    with pytest.raises(InputError, match="no file"):
        conditioned(tiny, tmp_path / "none.safetensors", make_tiny_meaning(tiny))


def test_a_step_lowers_the_loss_by_the_layer_alone(tiny):
    draw = torch.Generator().manual_seed(0)
    clip = Clip(torch.randn(4, 4, 8, 8, generator=draw), torch.randn(8, 16, 16, generator=draw), "a red disc humming")
    job = ConditionJob(ConditionRunConfig(drop_text=0.0, drop_sound=0.0), tiny, make_tiny_meaning(tiny))
    batch = job.collate([clip, clip])
    draws = job.draw(batch, [0, 1], 0, 0)
    before = job.net(batch, draws).sound
    assert torch.equal(before, job.bare(batch, draws).sound), "zero at first"
    before.mean().backward()
    learnt = {name for name, weight in job.net.named_parameters() if weight.grad is not None}
    assert learnt == {"layer.linear.weight"} and set(job.trained()) == {"layer.linear.weight"}
    slope = job.net.layer.linear.weight.grad
    with torch.no_grad():
        job.net.layer.linear.weight.sub_(0.05 * slope / slope.norm())
    assert float(job.net(batch, draws).sound.detach().mean()) < float(before.detach().mean())
