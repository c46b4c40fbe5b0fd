"""Further views over one sound, and spans made anew, in the stand-in over a small untrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_heads import write_hearing_control
from tiny_workflow import tiny_workflow as workflow
from tiny_workflow import write_model_files

from tools.host import Host

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def models(host: Host) -> Path:
    write_model_files(host.base / "models")
    return host.base / "models"


def two_views(**second: Any) -> dict[str, Any]:
    """Return the workflow with a second sampler, node 21, for the view to the right."""
    prompt = workflow()
    look, sampler = prompt["3"], prompt["7"]
    prompt["20"] = {**look, "inputs": {**look["inputs"], "choose_by": "yaw and pitch", "yaw": 90.0}}
    inputs = {**sampler["inputs"], "basd": ["20", 0], "start_latents": ["7", 4], "hold": "sound", **second}
    prompt["21"] = {**sampler, "inputs": inputs}
    prompt["22"] = {"class_type": "PreviewImage", "inputs": {"images": ["21", 0]}}
    return prompt


def redone(**widgets: Any) -> dict[str, Any]:
    """Return the workflow with Redo Span, node 21, behind the sampler."""
    inputs = {"model": ["5", 0], "latents": ["7", 4], "control": ["6", 0], "start": 0.25, "end": 0.5, "seed": 9,
              "what": "both", **widgets}  # fmt: skip
    return {
        **workflow(),
        "21": {"class_type": "Con360RedoSpan", "inputs": inputs},
        "22": {"class_type": "PreviewImage", "inputs": {"images": ["21", 0]}},
    }


def outputs(done: Any, node: str = "21") -> tuple[Any, ...]:
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    return done.outputs[node]


@pytest.mark.usefixtures("models")
class TestViews:
    def test_a_further_view_has_the_first_ones_very_sound(self, run: Any) -> None:
        done = run(two_views())
        first, second = outputs(done, "7"), outputs(done)
        assert torch.equal(second[1]["waveform"], first[1]["waveform"])
        assert torch.equal(second[4].clip.latents.audio, first[4].clip.latents.audio)
        assert not torch.equal(second[0], first[0])

    def test_each_view_hears_the_scene_from_its_own_side(self, run: Any, models: Path) -> None:
        prompt = two_views(sound="headphones")
        prompt["6"]["inputs"]["control"] = write_hearing_control(models)
        prompt["7"]["inputs"]["sound"] = "headphones"
        done = run(prompt)
        first, second = outputs(done, "7"), outputs(done)
        assert torch.equal(second[4].clip.sound.waveform, first[4].clip.sound.waveform)
        ears = [made[1]["waveform"][0] for made in (first, second)]
        assert [tuple(one.shape) for one in ears] == [(2, 8000)] * 2
        # An untrained model's sound is faint.
        assert (ears[1] - ears[0]).norm() > 0.1 * ears[0].norm() > 0
        # All of the scene is what was sampled.
        prompt["21"]["inputs"]["sound"] = "omni"
        assert torch.equal(outputs(run(prompt))[1]["waveform"][0], first[4].clip.sound.waveform)

    def test_two_channels_without_directions_are_refused(self, run: Any) -> None:
        done = run(two_views(sound="stereo"))
        assert (done.status, done.failed_node) == ("error", "21")
        assert "sound is 'stereo', and the control gives no directions" in str(done.error)

    @pytest.mark.parametrize(
        ("second", "says"),
        [
            ({"start_audio": ["1", 1]}, "start_audio is connected too; disconnect one"),
            ({"hold": "nothing", "start_images": ["1", 0]}, "start_images is connected too; disconnect one"),
        ],
    )
    def test_two_starts_are_refused_before_anything_runs(self, run: Any, second: dict, says: str) -> None:
        done = run(two_views(**second))
        assert done.status == "refused" and says in str(done.complaints)

    def test_latents_of_another_model_are_named(self, pack: Any) -> None:
        record = pack("nodes.sockets").LatentsRecord(None, "one", None, None, {}, None)
        with pytest.raises(pack("con360.errors").InputError, match="connect the same model"):
            record.of_model("another")


@pytest.mark.usefixtures("models")
class TestRedo:
    def test_the_span_alone_is_another(self, run: Any) -> None:
        done = run(redone())
        first, made = outputs(done, "7"), outputs(done)
        assert torch.equal(made[0][:2], first[0][:2]) and not torch.equal(made[0][2:], first[0][2:])
        before, after = first[1]["waveform"], made[1]["waveform"]
        assert torch.equal(after[..., :4000], before[..., :4000]) and not torch.equal(after, before)
        assert made[2].get_duration() == 0.5 and made[4].clip.seed == first[4].clip.seed
        assert torch.equal(outputs(run(redone()))[0], made[0])

    @pytest.mark.slow
    @pytest.mark.parametrize(("what", "kept"), [("picture", 1), ("sound", 0)])
    def test_the_other_part_is_held(self, run: Any, what: str, kept: int) -> None:
        done = run(redone(what=what))
        (frames, audio), (made, heard) = outputs(done, "7")[:2], outputs(done)[:2]
        pairs = ((made, frames), (heard["waveform"], audio["waveform"]))
        assert [torch.equal(*pair) for pair in pairs] == [kept == 0, kept == 1]

    @pytest.mark.slow
    @pytest.mark.parametrize(("what", "size"), [("sound", 64), ("picture", 32)])
    def test_a_held_picture_keeps_its_size_while_it_stays(self, run: Any, what: str, size: int) -> None:
        prompt = redone(what=what)
        prompt["7"]["inputs"] |= {"start_images": ["24", 0], "hold": "picture"}
        prompt["24"] = {"class_type": "Con360ViewpointCrop", "inputs": {
            "frames": ["1", 0], "basd": ["3", 0], "audio": ["1", 1], "size": 64, "sound": "omni"}}  # fmt: skip
        done = run(prompt)
        made = outputs(done)
        assert made[0].shape == (4, size, size, 3) and made[2].get_dimensions() == (size, size)
        assert torch.equal(made[0], outputs(done, "7")[0]) == (what == "sound")

    @pytest.mark.slow
    def test_a_remade_clip_is_remade(self, run: Any) -> None:
        prompt = redone()
        prompt["23"] = {**prompt["21"], "inputs": {**prompt["21"]["inputs"], "latents": ["21", 4], "start": 0.0,
                                                   "end": 0.25, "caption": "a green ring"}}  # fmt: skip
        prompt["22"]["inputs"] = {"images": ["23", 0]}
        done = run(prompt)
        once, twice = outputs(done), outputs(done, "23")
        assert torch.equal(twice[0][2:], once[0][2:]) and not torch.equal(twice[0][:2], once[0][:2])

    @pytest.mark.parametrize(
        ("widgets", "says"),
        [({"start": 0.4, "end": 0.1}, "ends before it begins"), ({"end": 9.0}, "reaches outside the clip")],
    )
    def test_a_span_that_cannot_be_is_named(self, run: Any, widgets: dict, says: str) -> None:
        done = run(redone(**widgets))
        assert (done.status, done.failed_node) == ("error", "21") and says in str(done.error)
