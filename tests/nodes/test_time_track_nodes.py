"""Time Track and its preview, and the sampler that follows a track, run in the stand-in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tiny_workflow import tiny_workflow, write_model_files

from con360.metrics.audio import energy_l1_to
from con360.records import Sound
from con360.sound.envelopes import envelope_of
from con360.sound.time_tracks import envelope_of_track, time_track_from_text
from tools.host import Host, Run

pytestmark = pytest.mark.standin

DRAWN = {"onsets": [{"time": 0.25, "strength": 0.5}, {"time": 1.5, "label": "hit"}],
         "envelope": {"points": [{"time": 0, "db": -30}, {"time": 2, "db": -12}]}}  # fmt: skip
SAMPLE = {"video": "[built-in sample]", "start": 0.0, "duration": 1.0, "fps": 15.0, "height": 64, "eye": "auto"}


def nodes(text: str = "", source: str = "what is drawn", **inputs: Any) -> dict[str, Any]:
    """A tick of 2 s as node 1, a track over it as 2, and what came of it as 3."""
    given = {"track": text, "source": source, "duration": 2.0, "fps": 8.0, "audio": ["1", 0], **inputs}
    return {
        "1": {"class_type": "Con360SampleSound", "inputs": {"voice": "tick", "duration": 2.0}},
        "2": {"class_type": "Con360TimeTrack", "inputs": {name: v for name, v in given.items() if v is not None}},
        "3": {"class_type": "Con360TimeTrackPreview", "inputs": {"track": ["2", 0], "audio": ["1", 0], "fps": 8.0}},
    }  # fmt: skip


def alone(text: str, **inputs: Any) -> dict[str, Any]:
    """The track without sound or preview."""
    return {"2": nodes(text, audio=None, **inputs)["2"]}


def shown(done: Run, node: str = "2") -> dict[str, Any]:
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    (data,) = done.ui[node]["con360"]
    return data


def refused(done: Run) -> str:
    assert done.status in ("error", "refused"), done.status
    return str(done.error or done.complaints)


def test_a_drawing_becomes_a_track_and_stays_as_it_is(run: Any) -> None:
    done = run(nodes(json.dumps(DRAWN)))
    data, (track, text) = shown(done), done.outputs["2"]
    assert track.onsets.times_s == (0.25, 1.5) and track.onsets.strengths == (0.5, 1.0)
    assert len(track.envelope.values) == 250 and float(track.envelope.values[-1]) == pytest.approx(0.25, rel=0.02)
    assert text == data["track"] == json.dumps(DRAWN)
    assert data["clip"]["filename"].endswith(".wav") and len(data["wave"]["columns"]) == 800
    assert max(high for _, high in data["wave"]["columns"]) > 0.3
    # The tick strikes each quarter of a second; what lies at the very ends is not heard.
    assert data["found"] == pytest.approx([0.25 * i for i in range(1, 8)], abs=0.03)


def test_a_track_comes_from_the_audio(run: Any) -> None:
    done = run(nodes(source="the audio"))
    track, _ = done.outputs["2"]
    assert list(track.onsets.times_s) == shown(done)["found"] and track.onsets.source == "sound"
    assert torch.equal(track.envelope.values, envelope_of(Sound(done.outputs["1"][0]["waveform"][0], 48000)).values)
    # The text says the same to another program.
    again = run(nodes(shown(done)["track"]))
    assert again.outputs["2"][0].onsets.times_s == track.onsets.times_s
    assert "F 1.00" in shown(again, "3")["notices"][0]


def test_a_track_comes_from_the_images(run: Any) -> None:
    prompt = {**alone("", source="the images", images=["4", 0], fps=15.0, duration=1.0),
              "4": {"class_type": "Load360Video", "inputs": SAMPLE}}  # fmt: skip
    done = run(prompt)
    data, (track, _) = shown(done), done.outputs["2"]
    assert track.onsets.source == "picture" and list(track.onsets.times_s) == data["found"]
    assert data["picture"] and data["clip"]["frames"] == 15 and max(data["motion"]["values"]) == 1


def test_a_picture_that_stands_still_is_told(pack: Any) -> None:
    node, still = pack("nodes.time_track"), torch.full((8, 16, 16, 3), 0.5)
    track, said = node._seen(still, 8.0, wanted=False)
    assert track.onsets is track.envelope is None and "nothing grows or brightens" in said[0]
    with pytest.raises(pack("con360.errors").InputError, match="nothing grows"):
        node._seen(still, 8.0, wanted=True)


def test_nothing_drawn_yet_runs_and_cannot_be_compared(run: Any) -> None:
    data = shown(run({name: node for name, node in nodes().items() if name != "3"}))
    assert "nothing is drawn yet" in data["notices"][0] and data["wave"]
    assert "the time track is empty" in refused(run(nodes()))


def test_what_lies_behind_the_end_is_left_out(run: Any) -> None:
    done = run(alone('{"onsets": [{"time": 1}, {"time": 2.5}]}'))
    assert done.outputs["2"][0].onsets.times_s == (1.0,) and "past the clip's end" in shown(done)["notices"][0]


@pytest.mark.parametrize(("text", "words"), [
    ('{"onsets": [{"time": 1}', "no JSON"), ("[3]", "onsets are JSON like"), ('{"onsets": [{"time": NaN}]}', "onsets"),
    ('{"tempo": 3}', "has the parts"), ('{"envelope": {"points": [{"time": 1}]}}', "point 1"),
    (json.dumps({"onsets": [{"time": i / 5000} for i in range(10_000)]}), "wanted at most 200"),
], ids=["cut", "list", "nan", "parts", "point", "many"])  # fmt: skip
def test_a_text_that_cannot_be_used_is_a_sentence(run: Any, text: str, words: str) -> None:
    assert words in refused(run(alone(text)))


def test_the_preview_says_what_came_beside_what_silence_would(run: Any) -> None:
    """Two of three onsets are the tick's; at other moments its even rhythm would seldom meet them."""
    asked = {"onsets": [{"time": time} for time in (0.25, 1.0, 1.62)]}
    done = run(nodes(json.dumps(asked)))
    onsets, loudness = shown(done, "3")["notices"]
    assert "2 of 3 asked came within 50 ms" in onsets and "7 were heard: F 0.40" in onsets
    assert done.outputs["3"][0] == f"{onsets}\n{loudness}"
    silent = float(loudness.split("silence: ")[1].split(")")[0])
    level = envelope_of_track(time_track_from_text(json.dumps(asked)), 2.0)
    assert energy_l1_to(Sound(torch.zeros(1, 32000), 16000), level) == pytest.approx((silent, silent), abs=1e-4)


def test_levels_that_are_free_are_not_drawn(run: Any) -> None:
    points = [{"time": 0.5, "db": -20, "free": 1}, {"time": 1.5, "db": -30}]
    data = shown(run(nodes(json.dumps({"envelope": {"points": points}}))), "3")
    values = data["asked"]["levels"]["values"]
    assert values[30] == pytest.approx(-20) and values[125] is None and values[-1] == pytest.approx(-30)
    assert all(value >= -60 for value in data["came"]["levels"]["values"]) and len(data["notices"]) == 1


# The sampler, over a tiny untrained model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _models(host: Host) -> None:
    write_model_files(host.base / "models")


def sampling(text: str, duration: float = 0.5, **inputs: Any) -> dict[str, Any]:
    prompt = tiny_workflow(when=["22", 0], steps=1, **inputs)
    kept = {name: prompt[name] for name in ("1", "2", "3", "4", "5", "6", "7", "10")}
    return {**kept, "22": alone(text, duration=duration)["2"]}


def waveform(done: Run) -> torch.Tensor:
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    return done.outputs["7"][1]["waveform"]


@pytest.mark.slow
@pytest.mark.usefixtures("_models")
def test_a_track_changes_the_sound_and_strength_zero_does_not(host: Host) -> None:
    """Notices say that onsets past the clip's end were left out."""
    host.free()
    text = '{"onsets": [{"time": 0.2}, {"time": 3}]}'
    free = host.run(sampling(text, duration=4.0))
    off = host.run(sampling(text, duration=4.0, when_strength=0.0))
    prompt = sampling(text)
    del prompt["7"]["inputs"]["when"], prompt["22"]
    none = host.run(prompt)
    assert not torch.equal(waveform(free), waveform(none)) and torch.equal(waveform(off), waveform(none))
    for done in (free, off):
        assert "past the clip's end" in done.outputs["7"][3]
    host.free()
    assert torch.equal(waveform(free), waveform(host.run(sampling(text, duration=4.0)))), "the same seed, the same clip"


@pytest.mark.usefixtures("_models")
def test_the_sampler_refuses_an_empty_track(host: Host) -> None:
    assert "the time track is empty" in refused(host.run(sampling("")))
