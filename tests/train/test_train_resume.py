"""Stopping and going on: equal to never having stopped, whole checkpoints or none, and refusals that name the cause."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from tiny_clips import make_loop, quick_config

from con360.errors import InputError
from train.checkpoint import RunProgress, checkpoint_to_resume, checkpoints, read_config, read_state, save_checkpoint
from train.config import TrainConfig
from train.devices import OneProcess
from train.loop import Interrupted
from train.monitor import read_log

EXACT = ("loss/picture", "loss/sound", "gradient norm", "rate", "clips")


def stop_after(step, signum):
    def on_step(progress):
        if progress.step == step:
            signal.raise_signal(signum)

    return on_step


def test_stopped_and_resumed_equals_uninterrupted(tmp_path):
    whole = make_loop(quick_config(tmp_path / "whole"), OneProcess())
    whole.run()

    config = quick_config(tmp_path / "parts")
    with pytest.raises(Interrupted) as stop:
        make_loop(config, OneProcess(), stop_after(2, signal.SIGTERM)).run()
    assert stop.value.signum == signal.SIGTERM and stop.value.checkpoint.name == "step-0000002"
    found = checkpoint_to_resume(config)
    assert found == stop.value.checkpoint
    rest = make_loop(config, OneProcess())
    rest.load(found)
    rest.run()

    a, b = ([[line[name] for name in EXACT] for line in read_log(loop.config.folder)] for loop in (whole, rest))
    assert a == b and len(a) == 4, "every loss, rate and norm must be the same number"
    assert all(torch.equal(p, rest.trained[name]) for name, p in whole.trained.items())
    shadows = zip(whole.average.shadow_params, rest.average.shadow_params, strict=True)
    assert all(torch.equal(x, y) for x, y in shadows)


def test_ctrl_c_writes_a_checkpoint_and_gives_the_handlers_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    config = quick_config(tmp_path, steps=2)
    with pytest.raises(Interrupted, match="SIGINT"):
        make_loop(config, OneProcess(), stop_after(1, signal.SIGINT)).run()
    assert read_state(checkpoints(config.folder / "checkpoints")[0])["progress"].step == 1
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def save(folder, config, step, **progress):
    return save_checkpoint(folder, config, RunProgress(step, **progress), {"trained": {}}, 0, lambda: None)


def test_newest_stay_and_a_run_that_starts_over_counts_as_newer(tmp_path):
    config = quick_config(tmp_path, keep=2)
    for step in (100, 200, 300):
        save(tmp_path, config, step)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000300", "step-0000200"]
    save(tmp_path, config, 5)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000005", "step-0000300"]
    save(tmp_path, config, 300, samples=7)
    assert read_state(tmp_path / "step-0000300")["progress"] == RunProgress(300, 7)


def test_a_kill_while_writing_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    config = quick_config(tmp_path)
    folder = config.folder / "checkpoints"
    save(folder, config, 1)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("train.checkpoint._chance", killed)
    with pytest.raises(KeyboardInterrupt):
        save(folder, config, 2)
    assert checkpoint_to_resume(config) == folder / "step-0000001"
    monkeypatch.undo()
    assert save(folder, config, 2).name == "step-0000002", "what the kill left must not be in the way"


def test_checkpoint_knows_its_configuration(tmp_path):
    config = quick_config(tmp_path, learning_rate=1e-5, train="all")
    assert read_config(save(tmp_path / "c", config, 1), TrainConfig()) == config


def test_other_settings_are_refused_by_name_and_finished_runs_start_over(tmp_path):
    config = quick_config(tmp_path)
    path = save(config.folder / "checkpoints", config, 2)
    with pytest.raises(InputError, match=r"learning_rate was 0\.002, is 0\.1.*--resume no"):
        checkpoint_to_resume(replace(config, learning_rate=0.1))
    assert checkpoint_to_resume(replace(config, learning_rate=0.1, resume="no")) is None
    assert checkpoint_to_resume(replace(config, learning_rate=0.1, resume=str(path))) == path
    assert checkpoint_to_resume(replace(config, keep=9)) == path, "what changes no loss may change"
    save(config.folder / "checkpoints", config, 4, finished=True)
    assert checkpoint_to_resume(config) is None


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    config = quick_config(tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint_to_resume(replace(config, resume=str(tmp_path)))
    path = save(tmp_path / "c", config, 1)
    (path / "state.pt").write_bytes((path / "state.pt").read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        read_state(path)


def test_other_networks_are_refused(tmp_path):
    config = quick_config(tmp_path)
    path = make_loop(config, OneProcess()).save()
    with pytest.raises(InputError, match="trained other weights"):
        make_loop(replace(config, train="control+cmcpe"), OneProcess()).load(path)
