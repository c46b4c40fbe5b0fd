"""The grid of guides and the table of three dials: over a tiny model they resume, and say only what they measured."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_meaning import make_tiny_meaning
from tiny_model import make_tiny_joint_model

from con360.choices import BUILT_IN_MODEL
from con360.errors import InputError
from con360.meaning.guide import MeaningGuideSettings
from con360.records import Sound, ViewpointClip
from con360.sampling.settings import SamplerSettings
from con360.scenes import VOICES, Performer, Scene
from con360.timing import ClipSpec
from train.evaluation import meaning_grid, meaning_subject, three_dials
from train.evaluation.bench import scene_panorama
from train.evaluation.meaning_grid import (
    ANOTHER,
    BEST,
    CONDITIONED,
    ROWS,
    UNGUIDED,
    Runner,
    best_by_guide,
    choose_strength,
    summary,
    verdicts,
)
from train.evaluation.meaning_subject import Subject, Turned, asked_scene, colours, voices
from train.evaluation.store import Store
from train.evaluation.three_dials import ALL, CLIPS


def figures(ta: float, *, voices: float = 1.0, own: tuple[float, float] = (0.5, 0.5), drift: float = 0.0) -> dict:
    return {
        "judge": {"V": 0.5, "ta": ta, "tv": 0.1, "va": ta}, "guide": {"V": own[0], "ta": own[1], "tv": 0.2, "va": 0.0},
        "voices": voices, "weakest": 0.1, "colours": 1.0, "seconds": 2.0, "embedding_v": [drift, 0.0],
        "embedding_a": [0.0, drift],
    }  # fmt: skip


def grid_of(gains: dict[str, float], scenes: int = 12) -> dict[int, dict[str, dict]]:
    """Results whose rows exceed the unguided by a gain, with a little chance."""
    rng = np.random.default_rng(0)
    return {
        i: {row: figures(0.2 + 0.1 * i + gains.get(row, 0.0) + 0.01 * rng.normal(), drift=0.1 * i) for row in ROWS}
        for i in range(scenes)
    }


def test_a_gain_is_said_only_apart_from_another_seed_and_lost_voices_are():
    results = grid_of({"safe, sound": 0.2, "pairwise, sound": 0.2})
    for rows in results.values():
        rows["volume, both"] = figures(0.3, voices=0.5)
    found = summary(results)
    assert found["safe, sound"]["ta"]["change"] == pytest.approx(0.2, abs=0.02)
    assert found[UNGUIDED]["ta"]["change"] == 0 and found[UNGUIDED]["drift"]["v"] == pytest.approx(0, abs=1e-6)
    said = verdicts(found, results)
    assert "safe, sound: up, apart from another seed: ta, va; fewer: none" in said
    assert f"{BEST}: up, apart from another seed: none; fewer: none" in said
    (line,) = [line for line in said if line.startswith("volume minus pairwise, sound")]
    assert "-0.4" in line
    (lost,) = [line for line in said if "fewer: voices" in line]
    assert lost.startswith("volume, both: ")


def test_nothing_is_apart_from_another_seed_that_is_one_clip_in_all_scenes():
    results = grid_of({"safe, sound": 0.2})
    for rows in results.values():
        rows[ANOTHER] = figures(rows[UNGUIDED]["judge"]["ta"] - 0.5)
    assert "safe, sound: up, apart from another seed: none; fewer: none" in verdicts(summary(results), results)


@pytest.mark.parametrize(
    ("drift", "voices", "chosen"), [(0.0, 1.0, 3.0), (0.5, 1.0, 1.0), (0.0, 0.9, 1.0)], ids=["in reach", "far", "mute"]
)
def test_a_strength_stays_within_what_another_seed_changes(drift, voices, chosen):
    class Made:
        """Another seed lies 0.4 away; the strongest guide gains most."""

        def result(self, part: str, *_: object) -> dict:
            made = {
                "unguided": figures(0.2), "another seed": figures(0.2, drift=0.4), "0.3": figures(0.23),
                "1": figures(0.3, drift=0.1), "3": figures(0.5, voices=voices, drift=drift),
            }  # fmt: skip
            return made[part.removeprefix("rate: ").rpartition(", ")[2]]

    for steer in ("sound", "picture"):
        strength, found = choose_strength(Made(), steer, scenes=2)
        assert strength == chosen and found["another seed"] == pytest.approx(0.4)
        assert found["by"]["3"]["distance"] == pytest.approx(drift) and found["by"]["1"]["gain"] > 0


def test_the_best_is_chosen_by_the_encoder_that_guides_and_not_by_the_judge():
    one, other, opposite = figures(0.9, own=(0.9, 0.5)), figures(0.1, own=(0.4, 0.5)), figures(0.9, own=(0.1, -0.5))
    assert best_by_guide([one, other, opposite]) is other


def test_truths_need_no_encoder():
    spec = ClipSpec(2.0)
    scene = Scene((Performer("red", "disc", "hum", 0.0), Performer("blue", "ring", "tick", 170.0)))
    track = Subject.track(_stand_in(spec), scene)
    clip = ViewpointClip(scene.view_frames(track, 32, spec), spec.fps, Sound(scene.foa(spec).waveform[:1], 16000))
    assert voices(clip, scene)["voices"] == 1 and colours(clip, scene, track)["colours"] == 1
    hum = replace(clip, sound=Sound(scene.without(1).foa(spec).waveform[:1], 16000))
    assert voices(hum, scene)["voices"] == 0.5 and voices(hum, scene)["weakest"] < 0.01
    true = _stand_in(spec).figures(_stand_in(spec).true_clip(scene), scene)
    assert true["voices"] == true["colours"] == 1 and true["judge"].keys() == {"V", "ta", "tv", "va"}
    grey = replace(clip, frames=torch.full_like(clip.frames, 0.5))
    assert colours(grey, scene, track)["colours"] == 0 and len(VOICES) == 5


@pytest.mark.parametrize("told", [True, False])
def test_an_untold_sampler_reads_no_caption(told: bool, monkeypatch: pytest.MonkeyPatch):
    stand_in = _stand_in(ClipSpec(2.0))
    monkeypatch.setattr(meaning_subject, "load_joint_model", lambda _: stand_in.model)
    monkeypatch.setattr(meaning_subject, "load_built_in", lambda *_: stand_in.encoder)
    monkeypatch.setattr(meaning_subject, "load_judge", lambda *_: stand_in.judge)
    monkeypatch.setattr(meaning_subject, "control_file", lambda *_: None)
    args = Namespace(scenes=1, model=BUILT_IN_MODEL, control=None, steps=1, encoder=None, judge=None, condition=None)
    subject, request = meaning_subject.subject_of(args, told=told)
    one, other = (subject.clip("test", index, 0, Turned())[0] for index in (0, 1))
    assert torch.equal(one.sound.waveform, other.sound.waveform) != told
    assert torch.equal(one.frames, other.frames) != told
    assert (request["settings"]["cfg_audio"] == 0) != told
    args.condition = Path("class_vector.safetensors")
    if not told:
        with pytest.raises(InputError, match="--condition; leave them out"):
            meaning_subject.subject_of(args, told=False)


def test_a_scenes_panorama_is_rendered_once():
    scene, spec = asked_scene("test", 0), ClipSpec(1.0)
    assert scene_panorama(scene, spec) is scene_panorama(scene, spec)


def _stand_in(spec: ClipSpec) -> Subject:
    model = make_tiny_joint_model()
    return Subject(
        model, None, SamplerSettings(steps=1), make_tiny_meaning(model), make_tiny_meaning(model, 1, "judge")
    )


def test_scenes_differ_in_what_tells_a_voice():
    assert asked_scene("test", 1) != asked_scene("test", 2) and asked_scene("test", 4) == asked_scene("test", 4)


def test_a_crossing_is_apart_from_another_seeds_by_its_interval():
    def clips(when: float) -> dict[str, dict[str, float]]:
        """The drawn track's F falls by 0.4 with where turned, by 0.1 with another seed; what stays."""
        f = {ALL: 0.5, "when, what": 0.9, "where, what": when, "where, when, what; another seed": 0.6}
        return {
            name: {"where": 0.5, "best": 1.0, "when": f.get(name, 0.8), "what": 0.3, "seconds": 1.0} for name in CLIPS
        }

    found = three_dials.summary({index: clips(0.5) for index in range(3)})
    crossed = found["crossed"]["where"]["when"]
    assert crossed["by_dial"] == pytest.approx(0.4) and crossed["interval"] == pytest.approx([0.3, 0.3])
    assert "| where | when | 0.400 | 0.100 | +0.300 [+0.300, +0.300] |" in three_dials.text_of(found)
    assert found["kept"]["when"]["ratio"] == pytest.approx(0.5 / 0.8)
    assert three_dials.summary({0: {}}) == {"scenes": 0}


@pytest.mark.slow
def test_both_commands_resume_and_write_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subject = _stand_in(ClipSpec(2.0))
    made: list[int] = []

    def measured(subject, *asked):
        made.append(len(made))
        return {**figures(0.01 * len(made)), "where": 0.5, "best": 1.0, "when": 0.6, "what": 0.3}

    monkeypatch.setattr(meaning_grid, "measured", measured)
    monkeypatch.setattr(meaning_grid, "measured_truth", measured)
    monkeypatch.setattr(three_dials, "measure", measured)
    runner = Runner(subject, Store(tmp_path / "grid", {}), None, lambda _: None)
    text = meaning_grid.run(runner, scenes=2, rate_scenes=1)
    assert all((f"| {row} | 2 |" in text) == (row != CONDITIONED) for row in ROWS) and ANOTHER in text
    count = len(made)
    assert meaning_grid.run(runner, scenes=2, rate_scenes=1) == text and len(made) == count
    text = three_dials.run(subject, Store(tmp_path / "dials", {}), MeaningGuideSettings(), 2, None, lambda _: None)
    assert len(made) == count + 2 * len(CLIPS) and f"| {ALL} | " in text
    over = Runner(subject, Store(tmp_path / "over", {}), 0, lambda _: None)
    assert "time was over" in meaning_grid.run(over, scenes=2, rate_scenes=1)
