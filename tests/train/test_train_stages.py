"""Stages: in order, each once, and the same command goes on with the one that failed."""

from __future__ import annotations

import pytest

from con360.errors import InputError
from train.tiny.stages import finished_stages, run_stages

# A light module that does nothing when run.
NOTHING = "train.tiny.stages"


def test_each_stage_runs_once_and_a_failed_one_again(tmp_path, capfd):
    stages = [NOTHING, "train.nowhere --out x", NOTHING]
    for _ in range(2):
        with pytest.raises(InputError, match="'train.nowhere --out x' ended with code 1"):
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
