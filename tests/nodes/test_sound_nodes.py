"""Sounds placed, mixed, turned, heard and gathered by the nodes, run in the stand-in."""

from __future__ import annotations

import json
import math
from typing import Any

import av
import numpy as np
import pytest
import torch

from con360.records import Sound, View
from con360.scenes import VOICES, demo_scene
from con360.sound.headphones import to_ears
from con360.sound.views import view_sound
from con360.timing import ClipSpec
from tools.host import Host, Run
from tools.host.v3 import NodeOutput

pytestmark = pytest.mark.standin

LOAD = {
    "class_type": "Load360Video",
    "inputs": {"video": "[built-in sample]", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"},
}
SALIENCY = {"class_type": "SalViT360Saliency", "inputs": {"frames": ["1", 0], "method": "training-free (built in)"}}
PAN = json.dumps([{"time": 0, "yaw": 170, "distance": 2}, {"time": 0.5, "yaw": -170, "distance": 4}])
NEUTRAL = {"mode": "still", "rank": 1, "yaw": 0.0, "pitch": 0.0, "distance": 1.0, "spread": 0.0, "gain": 0.0,
           "order": 1, "fps": 8.0}  # fmt: skip


def voice(seconds: float = 0.5, name: str = "hum") -> dict[str, Any]:
    return {"class_type": "Con360SampleSound", "inputs": {"voice": name, "duration": seconds}}


def placing(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "Con360PlaceSound", "inputs": {"audio": ["2", 0], **NEUTRAL, **inputs}}


def preview(*source: Any, **inputs: Any) -> dict[str, Any]:
    values = {"audio": list(source), "fps": 8.0, "height": 64, **inputs}
    return {"class_type": "Con360AmbisonicsPreview", "inputs": values}


def placed(run: Any, **inputs: Any) -> Run:
    """Place a hum of half a second as node 3, with the sample and its saliency at hand."""
    return done(run, {"1": LOAD, "4": SALIENCY, "2": voice(), "3": placing(**inputs), "9": preview("3", 0)})


def done(run: Any, prompt: dict[str, Any]) -> Run:
    result = run(prompt)
    assert result.status == "done", (result.failed_node, result.error, result.complaints)
    return result


def refused(run: Any, prompt: dict[str, Any]) -> str:
    result = run(prompt)
    assert result.status in ("error", "refused"), result.status
    return str(result.error or result.complaints)


def waveform(result: Run, node: str, slot: int = 0) -> torch.Tensor:
    return result.outputs[node][slot]["waveform"][0]


def direction(field: torch.Tensor) -> tuple[float, float]:
    """Yaw and pitch of the intensity of a whole sound."""
    w, y, z, x = field[:4].double()
    left, up, front = ((w * dipole).sum() for dipole in (y, z, x))
    return math.degrees(math.atan2(-left, front)), math.degrees(math.atan2(up, math.hypot(left, front)))


def voice_yaws(field: torch.Tensor) -> list[float]:
    """Yaw of each of the sample's voices, by its band, at 16 kHz."""
    spectrum, found = torch.fft.rfft(field.double()), []
    hz = torch.linspace(0, 8000, spectrum.shape[1])
    for performer in demo_scene().performers:
        low, high = VOICES[performer.voice].band_hz
        found.append(direction(torch.fft.irfft(spectrum * ((hz >= low) & (hz <= high))))[0])
    return found


def shown(result: Run, node: str = "3") -> dict[str, Any]:
    (data,) = result.ui[node]["con360"]
    return data


def giving(host: Host, sound: Sound) -> type:
    """A class in the place of Sample Sound that gives this sound, and does not say what its channels are."""
    audio = {"waveform": sound.waveform[None], "sample_rate": sound.sample_rate_hz}
    base = host.classes["Con360SampleSound"]
    return type(base.__name__, (base,), {"execute": classmethod(lambda cls, **_: NodeOutput(audio))})


# ---- Place Sound on Sphere


def test_the_sample_sound_offers_the_scenes_voices(host: Host) -> None:
    offered = host.object_info()["Con360SampleSound"]["input"]["required"]["voice"][1]["options"]
    assert sorted(offered) == sorted(VOICES)


@pytest.mark.parametrize("order", [1, 3])
def test_a_still_sound_lies_where_the_widgets_say(run: Any, order: int) -> None:
    result = placed(run, yaw=60.0, pitch=-20.0, distance=2.0, order=order)
    field = waveform(result, "3")
    assert field.shape == ((order + 1) ** 2, 24000)
    assert direction(field) == pytest.approx((60.0, -20.0), abs=0.1)
    alone = waveform(result, "2")
    assert float(field[0].std() / alone.std()) == pytest.approx(0.5, rel=1e-3), "6 dB a doubling"
    assert result.outputs["3"][0]["con360_layout"] == "ambix"
    assert shown(result)["panorama"]["source"] and shown(result)["path"][0] == [60.0, -20.0, 2.0]


def test_keyframes_move_the_sound_over_the_seam(run: Any) -> None:
    result = placed(run, mode="keyframes", keyframes=PAN, gain=6.0)
    field = waveform(result, "3")
    ends = direction(field[:, :2400]), direction(field[:, -2400:])
    assert [abs(yaw) > 165 for yaw, _ in ends] == [True, True] and ends[0][0] > 0 > ends[1][0]
    assert shown(result)["path"][0] == [170.0, 0.0, 2.0]


def looking(**inputs: Any) -> dict[str, Any]:
    values = {"frames": ["1", 0], "fps": 8.0, "mode": "still", "yaw": -75.0, "pitch": 10.0, "fov": 90.0,
              "normalization": "minmax", "map_height": 64, **inputs}  # fmt: skip
    return {"class_type": "Con360ViewpointByHand", "inputs": values}


def test_a_subject_is_followed(run: Any) -> None:
    result = placed(run, mode="subject", rank=2, saliency=["4", 0], frames=["1", 0])
    yaws = [views["views"][0][0] for views in shown(result)["rankings"]["subject"]]
    assert direction(waveform(result, "3"))[0] == pytest.approx(yaws[1], abs=2)


def test_a_viewpoint_is_followed_and_depth_is_its_distance(run: Any) -> None:
    """The viewpoint's own map is brightest in its middle: there it is near."""
    place = {"mode": "viewpoint", "basd": ["5", 0]}
    prompt = {"1": LOAD, "2": voice(), "5": looking(), "3": placing(**place), "9": preview("3", 0)}
    alone = done(run, prompt)
    prompt["3"] = placing(**place, depth=["5", 1], near=2.0, far=8.0)
    deep = done(run, prompt)
    assert direction(waveform(alone, "3")) == pytest.approx((-75.0, 10.0), abs=0.1)
    assert direction(waveform(deep, "3")) == pytest.approx((-75.0, 10.0), abs=0.1)
    distance = float(waveform(alone, "3")[0].std() / waveform(deep, "3")[0].std())
    assert distance == pytest.approx(2.0, abs=0.3) and distance == pytest.approx(shown(deep)["path"][0][2], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "words"), [
    ("find the place", "moves with"), ("find by rhythm", "rhythm"), ("most moving", "moves most")])  # fmt: skip
def test_the_picture_places_a_sound(run: Any, mode: str, words: str) -> None:
    """The sample's downmix goes back to where each voice was, or all of it to one place."""
    load = {"class_type": "Load360Video", "inputs": {**LOAD["inputs"], "duration": 4.0, "fps": 15.0}}
    place = placing(mode=mode, audio=["1", 1], frames=["1", 0], fps=15.0)
    result = done(run, {"1": load, "3": place, "9": preview("3", 0, frames=["1", 0], fps=15.0)})
    field, truth = waveform(result, "3"), waveform(result, "1", 1)
    assert field.shape == truth.shape and words in result.outputs["3"][1]
    assert shown(result)["notices"] == result.outputs["3"][1].split("\n") and not shown(result)["path"]
    found, wanted = (voice_yaws(sound) for sound in (field, truth))
    if mode == "most moving":
        assert max(found) - min(found) < 0.1
    else:
        assert found == pytest.approx(wanted, abs=3)


def test_a_mode_names_what_it_lacks(run: Any) -> None:
    for mode, lacking in (("keyframes", "keyframes"), ("subject", "saliency"), ("viewpoint", "basd"),
                          ("find the place", "frames"), ("most moving", "frames"), ("stereo panning", "stereo"),
                          ("jump", "'still'")):  # fmt: skip
        said = refused(run, {"1": LOAD, "2": voice(), "3": placing(mode=mode), "9": preview("3", 0)})
        assert lacking in said, (mode, said)


@pytest.mark.parametrize("text", ["[", '[{"time": 0}]', '[{"time": 0, "yaw": 1e12}]', '[{"time": 0, "yaw": "x"}]'])
def test_keyframes_that_are_none_are_refused_before_anything_runs(run: Any, text: str) -> None:
    result = run({"1": LOAD, "2": voice(), "3": placing(mode="keyframes", keyframes=text), "9": preview("3", 0)})
    assert result.status == "refused" and "source point" in result.complaints["3"][0]


def test_loud_sound_is_kept_and_said(run: Any) -> None:
    result = placed(run, distance=0.3, gain=24.0)
    assert waveform(result, "3").abs().max() > 1
    assert "over full scale" in result.outputs["3"][1]


def test_a_sound_of_another_length_and_of_two_channels_is_said(host: Host, run: Any) -> None:
    stereo = Sound(noise(2, 16000), 16000)
    prompt = {"1": LOAD, "2": voice(), "3": placing(frames=["1", 0], yaw=40.0), "9": preview("3", 0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(host.classes, "Con360SampleSound", giving(host, stereo))
        result = done(run, prompt)
        prompt["3"]["inputs"]["mode"] = "stereo panning"
        panned = done(run, prompt)
    wanted = ["the sound's 2 channels are mixed to mono", "the sound lasts 1.00 s and the picture 0.50 s"]
    assert result.outputs["3"][1].split("\n") == wanted == shown(result)["notices"]
    assert waveform(result, "3").shape == (4, 16000)
    assert waveform(panned, "3").shape == (4, 16000) and panned.outputs["3"][1] == wanted[1]
    assert not shown(panned)["panorama"]["source"] and not shown(panned)["path"]


# ---- Mix, Rotate, Headphones


def test_fields_add_up_at_the_highest_order_and_the_longest(run: Any) -> None:
    other = {"class_type": "Con360PlaceSound", "inputs": {**placing(yaw=90.0, order=3)["inputs"], "audio": ["5", 0]}}
    mix = {"class_type": "Con360MixAmbisonics", "inputs": {
        "first": ["3", 0], "second": ["4", 0], "first_gain": 0.0, "second_gain": -6.0206}}  # fmt: skip
    prompt = {"2": voice(0.5), "5": voice(0.25), "3": placing(), "4": other, "6": mix, "9": preview("6", 0)}
    result = done(run, prompt)
    mixed, first, second = (waveform(result, node) for node in "634")
    assert mixed.shape == (16, 24000)
    assert torch.allclose(mixed[:4, :12000], first[:, :12000] + 0.5 * second[:4], atol=1e-5)
    assert torch.equal(mixed[:4, 12000:], first[:, 12000:]) and not mixed[4:, 12000:].any()


def test_a_sound_without_directions_is_refused_by_its_name(run: Any) -> None:
    mix = {"class_type": "Con360MixAmbisonics", "inputs": {
        "first": ["3", 0], "second": ["2", 0], "first_gain": 0.0, "second_gain": 0.0}}  # fmt: skip
    said = refused(run, {"2": voice(), "3": placing(), "6": mix, "9": preview("6", 0)})
    assert "second is mono" in said and "Place Sound on Sphere" in said


@pytest.mark.parametrize(("how", "yaw"), [("the listener", 30.0), ("the scene", 90.0)])
def test_turning_the_listener_or_the_scene(run: Any, how: str, yaw: float) -> None:
    rotate = {"class_type": "Con360RotateAmbisonics", "inputs": {
        "audio": ["3", 0], "turn": how, "yaw": 30.0, "pitch": 0.0, "roll": 0.0}}  # fmt: skip
    result = done(run, {"2": voice(), "3": placing(yaw=60.0, order=2), "6": rotate, "9": preview("6", 0)})
    assert direction(waveform(result, "6"))[0] == pytest.approx(yaw, abs=0.1)
    assert waveform(result, "6").shape == (9, 24000)


def test_turning_along_a_viewpoint(run: Any) -> None:
    path = json.dumps([{"time": 0, "yaw": 0, "pitch": 0, "fov": 90}, {"time": 0.375, "yaw": 90, "pitch": 0, "fov": 90}])
    view = looking(mode="keyframes", keyframes=path)
    rotate = {"class_type": "Con360RotateAmbisonics", "inputs": {
        "audio": ["3", 0], "turn": "the listener", "yaw": 0.0, "pitch": 0.0, "roll": 0.0,
        "basd": ["5", 0]}}  # fmt: skip
    result = done(run, {"1": LOAD, "2": voice(), "3": placing(), "5": view, "6": rotate, "9": preview("6", 0)})
    turned = waveform(result, "6")
    assert direction(turned[:, :480])[0] == pytest.approx(0.0, abs=2)
    assert direction(turned[:, -4800:])[0] == pytest.approx(-90.0, abs=0.5)


def test_headphones_hear_the_library_and_left_is_left(run: Any) -> None:
    ears = {"class_type": "Con360AmbisonicsToHeadphones", "inputs": {"audio": ["3", 0], "ears": "MIT KEMAR (built in)"}}
    play = {"class_type": "PreviewAudio", "inputs": {"audio": ["6", 0]}}
    result = done(run, {"2": voice(), "3": placing(yaw=-90.0, order=3), "6": ears, "9": play})
    heard = waveform(result, "6")
    assert torch.equal(heard, to_ears(Sound(waveform(result, "3"), 48000, "ambix")).waveform)
    assert float(heard[0].std()) > float(heard[1].std())


def test_ears_that_are_not_there_are_refused(run: Any, host: Host) -> None:
    folder = host.base / "models" / "con360_ears"
    folder.mkdir(exist_ok=True)
    (folder / "broken.sofa").write_bytes(b"no SOFA")
    for name, words in (("mine.sofa", "'mine.sofa' not in"), ("broken.sofa", "broken.sofa")):
        ears = {"class_type": "Con360AmbisonicsToHeadphones", "inputs": {"audio": ["3", 0], "ears": name}}
        assert words in refused(run, {"2": voice(), "3": placing(), "6": ears, "9": preview("6", 0)}), name


# ---- Ambisonics Preview


@pytest.mark.parametrize("order", [1, 3])
def test_the_preview_holds_every_channel_at_its_own_speed(run: Any, host: Host, order: int) -> None:
    result = done(run, {"1": LOAD, "2": voice(), "3": placing(yaw=90.0, order=order),
                        "9": preview("3", 0, frames=["1", 0])})  # fmt: skip
    data = shown(result, "9")
    file = data["panorama"] if order == 1 else data["panorama"]["field"]
    with av.open(str(host.base / "temp" / file["filename"])) as container:
        stream = container.streams.audio[0]
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
        channels = stream.codec_context.channels
    assert (channels, stream.rate) == ((order + 1) ** 2, 48000)
    if order == 3:
        assert np.array_equal(heard.reshape(-1, 16).T, waveform(result, "3").numpy())
    frames, compass = result.outputs["9"]
    assert frames.shape == (4, 64, 128, 3) and compass.shape[0] == 1
    # The sound is at the right, three quarters across, and so is the heat.
    heat = (frames - result.outputs["1"][0]).abs().sum((0, 1, 3))
    assert 88 <= int(heat.argmax()) <= 104


def test_a_sound_of_another_pack_is_taken_by_the_widget(host: Host, run: Any) -> None:
    fuma = Sound(torch.randn(4, 8000, generator=torch.Generator().manual_seed(0)) * 0.1, 16000, "ambix")
    prompt = {"2": voice(), "9": preview("2", 0, ambisonics="fuma")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(host.classes, "Con360SampleSound", giving(host, fuma))
        assert done(run, prompt).status == "done"
        prompt["9"]["inputs"] |= {"ambisonics": "none"}
        assert "wanted Ambisonics" in refused(run, prompt)


# ---- Views Around, Sounds to Field


def around(**inputs: Any) -> dict[str, Any]:
    values = {
        "frames": ["1", 0], "fps": 8.0, "choose_by": "all around", "count": 4, "above_below": False, "fov": 90.0,
        "size": 32, "caption": "Shapes.", "audio": ["1", 1], **inputs,
    }  # fmt: skip
    return {"class_type": "Con360ViewsAround", "inputs": values}


def gathering(**inputs: Any) -> dict[str, Any]:
    return {
        "class_type": "Con360SoundsToField",
        "inputs": {"sounds": ["2", 2], "views": ["2", 4], "order": 1, **inputs},
    }


def test_views_around_are_lists_in_one_order(run: Any) -> None:
    result = done(run, {"1": LOAD, "2": around(), "3": gathering(), "9": preview("3", 0)})
    frames, videos, sounds, captions, views, yaws, pitches = result.outputs["2"]
    assert [view.yaw_deg for view in views] == yaws == [0.0, 90.0, -180.0, -90.0] and pitches == [0.0] * 4
    assert captions == ["Shapes., in front", "Shapes., on the right", "Shapes., behind", "Shapes., on the left"]
    assert [one.shape for one in frames] == [(4, 32, 32, 3)] * 4 and len(videos) == 4
    clip = demo_scene().panorama(64, ClipSpec(seconds=0.5))
    assert torch.allclose(sounds[1]["waveform"][0], view_sound(clip.sound, View(90.0), 8.0).waveform, atol=1e-6)


def test_sounds_lie_where_their_views_look(run: Any, host: Host) -> None:
    """One view has a sound, the others are silent."""
    prompt = {"1": LOAD, "2": around(), "3": gathering(), "9": preview("3", 0)}
    done(run, prompt)
    node = host.classes["Con360ViewsAround"]

    class Heard(node):
        @classmethod
        def execute(cls, **inputs: Any) -> Any:
            given = node.execute(**inputs)
            for number, audio in enumerate(given.args[2]):
                audio["waveform"] = torch.randn(1, 1, 8000) * 0.1 * (number == 3)
            return given

    host.free()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(host.classes, "Con360ViewsAround", Heard)
        result = done(run, prompt)
    assert direction(waveform(result, "3"))[0] == pytest.approx(-90.0, abs=1)
    assert "silent sounds: view-1, view-2, view-3" in result.outputs["3"][1]


def test_subjects_are_views_too_and_need_saliency(run: Any) -> None:
    subjects = {"1": LOAD, "4": SALIENCY, "2": around(choose_by="subject", saliency=["4", 0], count=2),
                "3": gathering(), "9": preview("3", 0)}  # fmt: skip
    assert len(done(run, subjects).outputs["2"][4]) == 2
    del subjects["2"]["inputs"]["saliency"]
    assert "needs saliency" in refused(run, subjects)


def test_sounds_and_views_of_different_lists_are_refused(run: Any) -> None:
    prompt = {"1": LOAD, "2": around(), "5": around(count=3), "3": gathering(views=["5", 4]), "9": preview("3", 0)}
    assert "4 sounds for 3 views" in refused(run, prompt)


# ---- sound that cannot be used, or that is odd


def noise(channels: int, samples: int = 4000) -> torch.Tensor:
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(channels))


# Sound, and whether it can be placed, and whether it can be turned and heard; None where it can, else words of why not.
ODD = {
    "NaN": (Sound(noise(1) * float("nan"), 16000), "not finite", "not finite"),
    "silence": (Sound(torch.zeros(4, 4000), 16000), None, None),
    "one sample": (Sound(noise(4, 1), 48000), None, None),
    "5.1": (Sound(noise(6), 48000), None, "wanted Ambisonics"),
    "five channels": (Sound(noise(5), 48000), None, "wanted Ambisonics"),
    "16 channels": (Sound(noise(16), 44100), None, None),
    "an odd rate": (Sound(noise(4), 44099), None, None),
    "192 kHz": (Sound(noise(9), 192000), None, None),
    "stereo": (Sound(noise(2), 8000), None, "wanted Ambisonics"),
}


# Rates that take seconds to resample.
SLOW = ("an odd rate", "192 kHz")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ODD])
def test_odd_sound_is_used_or_refused_in_a_sentence(host: Host, run: Any, name: str) -> None:
    sound, placing_fails, turning_fails = ODD[name]
    rotate = {"class_type": "Con360RotateAmbisonics", "inputs": {
        "audio": ["2", 0], "turn": "the listener", "yaw": 10.0, "pitch": 5.0, "roll": 3.0}}  # fmt: skip
    ears = {"class_type": "Con360AmbisonicsToHeadphones", "inputs": {"audio": ["2", 0], "ears": "MIT KEMAR (built in)"}}
    play = {"class_type": "PreviewAudio", "inputs": {"audio": ["3", 0]}}
    prompts = [
        ({"2": voice(), "3": placing(yaw=30.0), "9": preview("3", 0)}, placing_fails),
        ({"2": voice(), "3": rotate, "9": preview("3", 0)}, turning_fails),
        ({"2": voice(), "3": ears, "9": play}, turning_fails),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(host.classes, "Con360SampleSound", giving(host, sound))
        for prompt, why_not in prompts:
            host.free()
            if why_not:
                assert why_not in refused(run, prompt)
            else:
                assert waveform(done(run, prompt), "3").shape[1] == sound.waveform.shape[1]
