"""Stages: in order, each once, and the same command goes on with the one that failed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from shared_data import ROOT

from con360.errors import InputError
from train.config import from_yaml
from train.tiny.stages import finished_stages, is_stage, run_stages

# A light module that does nothing when run.
NOTHING = "train.tiny.stages"
FAILING = "train.tiny.text --nonsense"


def test_each_stage_runs_once_and_a_failed_one_again(tmp_path, capfd):
    stages = [NOTHING, FAILING, NOTHING]
    for _ in range(2):
        with pytest.raises(InputError, match="'train.tiny.text --nonsense' ended with code 2"):
            run_stages(stages, tmp_path)
        assert finished_stages(tmp_path) == [NOTHING]
    shown = capfd.readouterr().out
    assert shown.count(f"[1/3] {NOTHING}: done before") == 1
    run_stages([NOTHING, NOTHING], tmp_path)
    assert finished_stages(tmp_path) == [NOTHING, NOTHING]


def test_other_stages_than_those_that_ran_are_refused(tmp_path):
    run_stages([NOTHING], tmp_path)
    with pytest.raises(InputError, match="not the first ones"):
        run_stages([f"{NOTHING} again", NOTHING], tmp_path)


def test_only_modules_of_train_are_run(tmp_path):
    with pytest.raises(InputError, match="wanted a module of train"):
        run_stages(["os.path"], tmp_path)
    with pytest.raises(InputError, match="'train.nowhere --out x': wanted a module of train"):
        run_stages([NOTHING, "train.nowhere --out x"], tmp_path)
    assert finished_stages(tmp_path) == []


def test_stages_of_the_preset_are_modules_with_their_options():
    """Each module's parser takes its stage's options."""
    stages = from_yaml(ROOT / "train" / "tiny.yaml").stages
    assert len(stages) == 9
    assert [stage for stage in stages if not is_stage(stage)] == []
    # One stage of each module: every parser costs an import of torch.
    for stage in {stage.split()[0]: stage for stage in stages}.values():
        done = subprocess.run([sys.executable, "-m", *stage.split(), "--help"], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, stage
