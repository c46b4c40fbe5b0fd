"""The training of the meaning encoder and its judge: what is drawn, a run that resumes, its file and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shared_data import ROOT

from con360.errors import InputError
from con360.meaning.built_in import load_built_in
from con360.meaning.load import load_meaning
from con360.models.joint import JointModel
from con360.models.meaning_network import MeaningConfig, MeaningNetwork
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from con360.weights.meaning import save_meaning_network
from train.checkpoint import RunProgress
from train.config import RunConfig, from_yaml
from train.meaning import judge, scenes
from train.meaning.job import MeaningJob, cut, shuffled
from train.meaning.run import CONFIGS, main, setup_of, train
from train.meaning.scenes import Clip, ScenesAsked, rendered
from train.stage import stage_command

CAPTION = "a red disc hums in front, a blue square beeps on the back left, under a clear sky over sand"
SMALL = ("pool=6", "held_out=6", "width=16", "size=8", "batch_size=3", "pairs_steps=2", "checkpoint_every=1")


@pytest.fixture(scope="module")
def model() -> JointModel:
    return load_joint_model(model_folder())


@pytest.fixture(autouse=True)
def quick_scenes(monkeypatch: pytest.MonkeyPatch, model: JointModel) -> None:
    """Latents of noise in place of rendered ones, and one model for all runs."""
    monkeypatch.setattr("train.meaning.run.load_joint_model", lambda folder: model)

    def made(split: str, number: int, model: JointModel) -> Clip:
        g = torch.Generator().manual_seed(number % 1000)
        words = ("red", "blue", "green", "cyan", "yellow", "magenta")[number % 6]
        picture, sound = torch.randn(4, 32, 16, 16, generator=g), torch.randn(8, 104, 16, generator=g)
        return Clip(picture.half(), sound.half(), f"a {words} disc hums in front, under a clear sky over sand")

    monkeypatch.setattr(scenes, "rendered", made)


def settings(out: Path, *more: str, stage: str = "encoder") -> RunConfig:
    from train.config import read_arguments

    return read_arguments([f"out={out}", *SMALL, *more], CONFIGS[stage])


def drawn(config: RunConfig, step: int) -> tuple[MeaningJob, object, object]:
    setup = setup_of(config, torch.device("cpu"))
    job = setup.job
    assert isinstance(job, MeaningJob)
    batch = job.collate([setup.source[i] for i in range(3)])
    return job, batch, job.draw(batch, [0, 1, 2], 0, step)


def test_volume_joins_after_the_pairs(tmp_path: Path) -> None:
    config = settings(tmp_path / "m.safetensors", "pairs_weight=0.5", "push=0")
    for step, joined in ((1, False), (2, True)):
        job, batch, draws = drawn(config, step)
        errors = job.net(batch, draws)
        assert errors.text_sound.shape == (3,) and bool(errors.volume.any()) is joined
    alone = job.net(batch, draws.__class__(**{**vars(draws), "with_volume": False}))
    torch.testing.assert_close(errors.text_sound, 0.5 * alone.text_sound)
    sum(error.mean() for error in errors).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in job.net.parameters())


def test_chance_belongs_to_a_clips_number(tmp_path: Path) -> None:
    config = settings(tmp_path / "m.safetensors", "drop_words=0.5")
    job, batch, first = drawn(config, 0)
    again = job.draw(batch, [0, 1, 2], 0, 5)
    assert torch.equal(first.words, again.words) and torch.equal(first.noise_v, again.noise_v)
    later = job.draw(batch, [3, 4, 5], 0, 0)
    assert not torch.equal(first.noise_a, later.noise_a)


def test_a_push_raises_the_loss_while_it_trains_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="push is -1"):
        settings(tmp_path / "m.safetensors", "push=-1")
    config = settings(tmp_path / "m.safetensors", "push=0.2", "pairs_steps=0")
    job, batch, draws = drawn(config, 0)
    assert 0 < draws.push.max() <= 0.2
    pushed, still = job.net.pushed(batch, draws)
    for name in ("noise_v", "noise_a"):
        way = (getattr(pushed, name) - getattr(draws, name)).abs().flatten(1).amax(1)
        torch.testing.assert_close(way, draws.push)
    errors = job.net(batch, draws)
    assert torch.equal(errors.picture_sound, still.picture_sound)
    trained = sum(error.sum() for error in errors)
    with torch.no_grad():
        measured = sum(error.sum() for error in job.net(batch, draws))
    assert trained > measured + 0.01
    torch.testing.assert_close(measured, sum(error.sum() for error in job.net.errors(batch, draws)))


def test_a_part_is_padded_as_the_codec_pads_it() -> None:
    picture, sound = cut(torch.ones(1, 4, 32, 2, 2), torch.ones(1, 8, 104, 16), 1, 2)
    assert picture.shape[2] == 16 and sound.shape[2] == 56
    assert sound[:, :, :50].all() and not sound[:, :, 50:].any()


def test_phrases_change_places_and_the_last_stays() -> None:
    orders = {shuffled(CAPTION, torch.Generator().manual_seed(seed)) for seed in range(9)}
    assert len(orders) == 2 and all(one.endswith(", under a clear sky over sand") for one in orders)


@pytest.mark.slow
def test_a_run_resumes_and_its_file_loads(tmp_path: Path, model: JointModel) -> None:
    whole, parts = (settings(tmp_path / f"{name}.safetensors", "steps=4") for name in ("whole", "parts"))
    train(whole, say=lambda line: None)

    def stop(progress: RunProgress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts, say=lambda line: None, on_step=stop)
    train(parts, say=lambda line: None)
    first, second = (load_file(config.out) for config in (whole, parts))
    assert all(torch.equal(t, second[name]) for name, t in first.items())
    assert all(t.dtype == torch.float16 for t in first.values())
    encoder = load_meaning(whole.out, model)
    assert encoder.read_text([CAPTION]).shape == (1, 8)
    with pytest.raises(InputError, match="network of"):
        judge.load_judge(whole.out, model)


@pytest.mark.slow
def test_the_judge_is_another_network_on_other_scenes(tmp_path: Path, model: JointModel) -> None:
    config = settings(tmp_path / "judge.safetensors", "steps=1", stage="judge")
    shipped = settings(tmp_path / "meaning.safetensors")
    assert config.first >= shipped.first + CONFIGS["encoder"].pool
    train(config, say=lambda line: None)
    encoder = judge.load_judge(config.out, model)
    found = scenes.scenes(tmp_path / "cache", ScenesAsked("test", 0, 8), model)
    figures = judge.figures(encoder, found, 2)
    assert set(figures["recalls"]) >= {"text to sound", "picture to sound", "text to clip, V"}
    told = judge.text_of(encoder.name, figures)
    assert "| chance | 12.5 | 62.5 |" in told and "| true triples |" in told


def test_latents_of_another_model_are_refused(tmp_path: Path, model: JointModel) -> None:
    network = MeaningNetwork(MeaningConfig(("a",), width=8, size=4))
    save_meaning_network(network, tmp_path / "m.safetensors", {}, "another")
    with pytest.raises(InputError, match="another model"):
        load_built_in(model, tmp_path / "m.safetensors")


@pytest.mark.slow
def test_a_rendered_scene_is_what_the_codecs_make(model: JointModel) -> None:
    clip = rendered("train", 300_001, model)
    assert clip.picture.shape == (4, 32, 16, 16) and clip.sound.shape == (8, 104, 16)
    assert clip.caption.startswith("a ") and clip.picture.isfinite().all() and clip.sound.isfinite().all()


def test_the_stages_of_the_shipped_file_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [stage.split() for stage in from_yaml(ROOT / "train" / "meaning.yaml").stages]
    assert [stage[0] for stage in stages] == ["train.meaning.run", "train.meaning.run", "train.meaning.judge"]
    assert main(["--help"]) == 0 and "pairs_steps" in capsys.readouterr().out
    assert stage_command(["nothing"], CONFIGS, "", train) == 2
    assert judge.main(["missing.safetensors", "--scenes", "2"]) == 2
