"""The evaluation's part about what caption, picture and sound share: its figures, and its rows of the table."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.records import Sound
from train.evaluation.bench import Bench, Clip
from train.evaluation.meaning_rows import CAPTION, OTHER, OURS, PART, TRUTH
from train.evaluation.part import Tools


class ByScene:
    """Reads brightness, and the sound's mean."""

    name, shared = "by scene", True

    def read_text(self, captions: list[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]] * len(captions))

    def read_picture(self, frames: torch.Tensor, fps: float) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor([[1.0, float(frames.mean()), 0.0]]), dim=-1)

    def read_sound(self, sound: torch.Tensor, rate_hz: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, float(sound.mean())]]), dim=-1)


class Pairs(ByScene):
    name, shared = "pairs", False

    def read_pair_texts(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.read_text(captions), self.read_text(captions)


@pytest.fixture(scope="module")
def figures(bench: Bench) -> dict[str, dict]:
    """Figures of two scenes by both encoders, without sampling: generated clips are grey and hum."""
    grey = Clip(torch.full((16, 3, 64, 64), 0.5), Sound(torch.full((1, 32000), 0.1), 16000))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "generate", lambda self, asks, seconds: [grey] * 2)
        for encoder in (ByScene(), Pairs()):
            tools = Tools(bench, lambda: None, None, print, lambda encoder=encoder: encoder)
            found[encoder.name] = PART.reduce(tools, [PART.measure(tools, index)[0] for index in (0, 1)])
    return found


@pytest.fixture(scope="module")
def bench() -> Bench:
    from con360.control import load_control
    from con360.pipeline import default_settings
    from con360.weights.find import control_file, model_folder
    from con360.weights.load import load_joint_model

    model = load_joint_model(model_folder())
    path = control_file(None, model_folder())
    assert path is not None
    return Bench(model, load_control(path), None, default_settings(model))


@pytest.mark.slow
def test_all_four_figures_stand_together(figures: dict[str, dict]) -> None:
    rows = PART.rows(figures["by scene"])
    assert [row.name.split(":")[0] for row in rows] == ["meaning"] * 4
    who = figures["by scene"]["meaning"]["who"]
    assert set(who) == {OURS, CAPTION, TRUTH, OTHER}
    assert all(0 < who[TRUTH][name]["value"] <= 1 for name in ("ta", "tv", "va"))
    assert rows[1].floor == pytest.approx(who[TRUTH]["tv"]["value"]) and rows[1].around is not None
    assert "by scene" in rows[0].beside and rows[0].n == "2 scenes"


@pytest.mark.slow
def test_an_encoder_of_two_spaces_has_no_volume(figures: dict[str, dict]) -> None:
    rows = PART.rows(figures["pairs"])
    assert [row.ours is None for row in rows] == [False, False, True, True]
    assert "no common space" in rows[3].beside


def test_without_an_encoder_the_part_says_so(bench: Bench) -> None:
    with pytest.raises(InputError, match="--meaning"):
        PART.measure(Tools(bench, lambda: None, None, print), 0)
    assert PART.rows({}) == []
