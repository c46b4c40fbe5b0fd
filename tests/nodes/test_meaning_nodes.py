"""A guide by meaning and the best of several seeds, in the stand-in over a small untrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_meaning import make_tiny_meaning
from tiny_workflow import tiny_workflow as workflow
from tiny_workflow import write_model_files

from con360.meaning.built_in import codecs_fingerprint
from con360.weights.load import load_joint_model
from con360.weights.meaning import MEANING_FILE, save_meaning_network
from tools.host import Host

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def models(host: Host) -> Path:
    """The model with an encoder of meaning."""
    write_model_files(host.base / "models")
    folder = host.base / "models" / "con360" / "random"
    joint = load_joint_model(folder)
    save_meaning_network(make_tiny_meaning(joint).network, folder / MEANING_FILE, {}, codecs_fingerprint(joint))
    return host.base / "models"


def guided(**guide: Any) -> dict[str, Any]:
    """Return the workflow with a guide, node 21; its sound is held, as the random model's own is silence."""
    prompt = workflow()
    widgets = {"loss": "safe", "steer": "picture", "strength": 1.0, "start": 0.0, "end": 1.0, **guide}
    prompt["21"] = {"class_type": "Con360MeaningGuide", "inputs": widgets}
    prompt["7"]["inputs"] |= {"guide": ["21", 0], "start_audio": ["1", 1], "hold": "sound", "caption": "a red disc"}
    return prompt


def ranked(**widgets: Any) -> dict[str, Any]:
    """Return the workflow with Best of Seeds, node 22, behind the guided sampler."""
    inputs = {"model": ["5", 0], "latents": ["7", 4], "control": ["6", 0], "count": 2, **widgets}
    return {**guided(), "22": {"class_type": "Con360BestOf", "inputs": inputs}}


def outputs(done: Any, node: str) -> tuple[Any, ...]:
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    return done.outputs[node]


@pytest.mark.usefixtures("models")
class TestMeaning:
    def test_two_seeds_are_ranked_shown_and_the_best_goes_on(self, run: Any) -> None:
        done = run(ranked())
        first, best = outputs(done, "7"), outputs(done, "22")
        seed, lines = first[4].settings.seed, best[3].splitlines()
        assert sorted(line.split(":")[0].split(",")[0] for line in lines) == [f"seed {seed}", f"seed {seed + 1}"]
        assert f"seed {best[4].settings.seed}" in lines[0] and best[4].clip.seed == best[4].settings.seed
        assert torch.equal(best[0], first[0]) == (best[4].settings.seed == seed)
        shown = done.ui["22"]["con360"][0]["candidates"]
        assert [one["text"] for one in shown] == lines and all(one["clip"]["sound"] for one in shown)
        assert first[4].clip.guided and first[4].guide.settings.steer == "picture"

    @pytest.mark.slow
    def test_the_guide_changes_the_clip_and_strength_0_does_not(self, run: Any) -> None:
        plain = guided()
        del plain["21"], plain["7"]["inputs"]["guide"]
        clips = [outputs(run(prompt), "7")[0] for prompt in (plain, guided(strength=0.0), guided())]
        assert torch.equal(clips[0], clips[1]) and not torch.equal(clips[0], clips[2])

    def test_an_encoder_that_guides_may_not_judge(self, pack: Any) -> None:
        guiding, errors = pack("con360.meaning.guiding"), pack("con360.errors")
        encoder = make_tiny_meaning(None)
        with pytest.raises(errors.InputError, match="given as a judge"):
            guiding.check_judge(guiding.Guiding(encoder), encoder)

    def test_a_loss_that_is_not_known_is_refused(self, run: Any) -> None:
        done = run(guided(loss="cosine"))
        assert done.status == "refused" and "'cosine' not in" in str(done.complaints)

    def test_the_clip_is_measured_by_the_encoder_that_is_loaded(self, run: Any) -> None:
        done = run(measured())
        *numbers, report = outputs(done, "24")
        assert all(-1 <= number <= 1 for number in numbers) and 0 <= numbers[3]
        assert report.startswith("by con360-meaning: caption and sound ") and f"volume {numbers[3]:.3f}" in report

    @pytest.mark.parametrize(
        ("node", "inputs", "said"), [("24", {"caption": " "}, "caption is empty"), ("23", {}, "name a model")]
    )
    def test_nothing_to_measure_or_to_read_by_is_said(
        self, run: Any, node: str, inputs: dict[str, Any], said: str
    ) -> None:
        prompt = measured()
        prompt[node]["inputs"] |= inputs
        if not inputs:
            del prompt["23"]["inputs"]["model"]
        done = run(prompt)
        assert (done.status, done.failed_node) == ("error", node) and said in str(done.error)


def measured() -> dict[str, Any]:
    """Return the workflow with a loader and a measure, nodes 23 and 24; the sampler reads the report, so both run."""
    prompt = workflow(control=False, caption=["24", 4])
    inputs = {"encoder": ["23", 0], "images": ["1", 0], "audio": ["1", 1], "caption": "a red disc hums", "fps": 8.0}
    return prompt | {
        "23": {"class_type": "Con360MeaningLoader", "inputs": {"encoder": "built in", "model": ["5", 0]}},
        "24": {"class_type": "Con360Meaning", "inputs": inputs},
    }
