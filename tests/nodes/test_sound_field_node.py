"""The node Sound Field in the stand-in, over a tiny and untrained joint model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_heads import write_hearing_control
from tiny_workflow import tiny_workflow, write_model_files

from con360.placing.generated import FALLBACK
from tools.host import Host, Run

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def hearing(host: Host) -> str:
    """The name of a control that carries a head, beside one that does not."""
    models: Path = host.base / "models"
    write_model_files(models)
    return write_hearing_control(models)


def prompt(control: str, frames: bool = True, **inputs: Any) -> dict[str, Any]:
    """A voice of half a second, placed for the sample."""
    nodes = {key: node for key, node in tiny_workflow().items() if key in "12346"}
    nodes["6"]["inputs"]["control"] = control
    more = {
        "20": ("Con360SampleSound", {"voice": "bell", "duration": 0.5}),
        "21": ("Con360SoundField", {
            "control": ["6", 0], "saliency": ["2", 0], "basd": ["3", 0], "caption": ["4", 0], "audio": ["20", 0],
            **({"frames": ["1", 0]} if frames else {}), **inputs}),
        "22": ("Con360AmbisonicsPreview", {"audio": ["21", 0], "fps": 8.0, "height": 64}),
    }  # fmt: skip
    return nodes | {key: {"class_type": kind, "inputs": values} for key, (kind, values) in more.items()}


def done(result: Run) -> Run:
    assert result.status == "done", (result.failed_node, result.error, result.complaints)
    return result


def test_a_head_gives_the_sound_four_channels_where_saliency_lies(run: Any, hearing: str) -> None:
    result = done(run(prompt(hearing)))
    (sound, *_), (field, notices) = result.outputs["20"], result.outputs["21"]
    assert field["con360_layout"] == "ambix" and field["sample_rate"] == sound["sample_rate"]
    wave = field["waveform"][0]
    assert torch.equal(wave[0], sound["waveform"][0].mean(0)) and wave.shape[0] == 4
    # The head of this test hears nothing: the sound lies where saliency does, and not from everywhere alike.
    direction = (wave[1:] * wave[0]).sum(1) / wave[0].square().sum()
    assert 0.2 < direction.norm() <= 1.01
    assert notices == ""
    assert result.ui["22"]["con360"][0]["panorama"]["ambisonic"]


def test_without_frames_the_head_says_what_it_lacks(run: Any, hearing: str) -> None:
    _, notices = done(run(prompt(hearing, frames=False))).outputs["21"]
    assert "reads the map 'colours', which is not given" in notices


def test_the_sampler_makes_the_maps_that_the_head_reads_from_the_frames(run: Any, hearing: str) -> None:
    """At 20 frames a second, so that panorama and maps are brought to the model's 8."""

    def sampled(**inputs: Any) -> tuple[Any, ...]:
        nodes = tiny_workflow(**inputs)
        nodes["6"]["inputs"]["control"] = hearing
        nodes["1"]["inputs"]["fps"] = 20.0
        return done(run(nodes)).outputs["7"]

    (*_, notices, latents), (*_, lacking, bare) = sampled(frames=["1", 0]), sampled()
    assert "colours" not in notices and "reads the map 'colours', which is not given" in lacking
    assert latents.conditions.maps["colours"].shape[0] == len(latents.conditions.saliency.maps) == 4
    assert bare.conditions.maps == {}
    nodes = tiny_workflow(frames=["30", 0])
    nodes["30"] = {"class_type": "Load360Video", "inputs": {**nodes["1"]["inputs"], "fps": 16.0}}
    refused = run(nodes)
    assert (refused.status, refused.failed_node) == ("error", "7")
    assert "8 frames and 4 saliency maps" in str(refused.error)


def test_a_control_without_a_head_falls_back_by_name(run: Any, hearing: str) -> None:
    field, notices = done(run(prompt("random.safetensors"))).outputs["21"]
    assert notices.split("\n")[0] == FALLBACK and field["waveform"].shape[1] == 4
    refused = run(prompt("random.safetensors", frames=False))
    assert refused.status == "error" and "carries no direction head" in str(refused.error)


def test_ambisonic_sound_is_refused(run: Any, hearing: str) -> None:
    refused = run(prompt(hearing, audio=["1", 1]))
    assert refused.status == "error" and "Ambisonic already" in str(refused.error)
