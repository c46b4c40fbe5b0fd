"""Configuration: YAML, command line over it, and refusals that name what came and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_data import ROOT

from con360.errors import InputError
from train.config import TrainConfig, describe, from_arguments, from_dict, from_yaml, to_yaml


def test_command_line_over_file_over_defaults(tmp_path):
    (tmp_path / "run.yaml").write_text("learning_rate: 1e-5\nsteps: 7\ngeometry: pooled\n")
    config = from_arguments(["--config", str(tmp_path / "run.yaml"), "steps=9", "--batch", "2", "--ema-decay=0.5"])
    assert (config.learning_rate, config.steps, config.geometry) == (1e-5, 9, "pooled")
    assert (config.batch_size, config.ema_decay, config.seconds) == (2, 0.5, TrainConfig().seconds)


def test_yaml_round_trip():
    config = TrainConfig(out=Path("a/b.safetensors"), init=None, epochs=1.5, train="all", stages=("train.tiny.text",))
    assert from_dict(__import__("yaml").safe_load(to_yaml(config)), TrainConfig()) == config


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["learning_rat=1"], "no setting 'learning_rat'; did you mean 'learning_rate'"),
        (["--bach", "1"], "did you mean 'batch'"),
        (["qqqqq=1"], "no setting 'qqqqq'; see"),
        (["steps=many"], "steps is 'many'; wanted a whole number"),
        (["train=everything"], "wanted one of baseline, control, control\\+cmcpe, all"),
        (["cache=perhaps"], "wanted true or false"),
        (["--steps"], "--steps needs a value"),
        (["steps"], "'steps' stands alone"),
        (["steps=0"], "steps is 0; wanted more than 0"),
        (["learning_rate=nan"], "learning_rate is nan; wanted more than 0"),
        (["drop_text=1.1"], "wanted a share from 0 to 1"),
        (["out=control.bin"], "ends in .safetensors"),
        (["--config", "nowhere.yaml"], "there is no configuration nowhere.yaml"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        from_arguments(arguments)


@pytest.mark.parametrize(
    "text, message", [("steps: 2.5", "whole"), ("steps: [1]", "whole"), ("- a", "list"), ("{", "YAML")]
)
def test_bad_files_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"(?s)run.yaml.*{message}"):
        from_yaml(path)


def test_a_bare_no_in_yaml_means_no(tmp_path):
    (tmp_path / "run.yaml").write_text("resume: no\nmixed_precision: no\nunets: none\ninit: none\n")
    config = from_yaml(tmp_path / "run.yaml")
    assert (config.resume, config.mixed_precision, config.unets, config.init) == ("no", "no", "none", None)


def test_resuming_a_named_checkpoint_brings_its_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(TrainConfig(steps=5, seed=3)))
    config = from_arguments(["--resume", str(tmp_path), "steps=8"])
    assert (config.seed, config.steps, config.resume) == (3, 8, str(tmp_path))


@pytest.mark.parametrize("preset", sorted(path.name for path in (ROOT / "train").glob("*.yaml")))
def test_presets_are_valid(preset):
    from_yaml(ROOT / "train" / preset)


def test_the_papers_settings():
    """Sections 2.2 and 3.2: AdamW at 1e-5, the control alone, pooled features, the mono downmix, 4 s, 500 epochs."""
    config = from_yaml(ROOT / "train" / "sphere360.yaml")
    assert (config.learning_rate, config.train, config.geometry, config.sound) == (1e-5, "control", "pooled", "omni")
    assert (config.seconds, config.epochs, config.schedule) == (4.0, 500, "constant")


def test_the_weekends_settings():
    """One 24 GB card: control and connectors, features in the view, one clip at a time."""
    config = from_yaml(ROOT / "train" / "weekend.yaml")
    assert (config.train, config.geometry, config.seconds) == ("control+cmcpe", "view", 4.0)
    assert (config.batch_size, config.mixed_precision, config.activation_checkpointing) == (1, "bf16", True)


def test_help_tells_every_setting():
    text = describe(TrainConfig())
    assert all(f"  {name} " in text for name in TrainConfig.__dataclass_fields__)
