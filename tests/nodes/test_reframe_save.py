"""Reframe, Save 360° Video and S_KL, run in the stand-in."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.sound.ambisonics import encode
from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin

RATE = 48000


@pytest.fixture(scope="module")
def footage(host: Host) -> str:
    """Ten frames with a tone in front, as Ambisonics."""
    wave = encode(0.5 * torch.sin(torch.arange(RATE // 3) * 0.06), 0.0, 0.0)
    with clip_stream(host.base / "input" / "in.mp4", (128, 64), Fraction(1, 30), 30, (4, RATE)) as clip:
        for i in range(10):
            clip.add_frame(np.full((64, 128, 3), 80 + i, np.uint8), i)
        clip.add_sound(wave.numpy())
    return "in.mp4"


def prompt(footage: str, **inputs: Any) -> dict[str, Any]:
    values = {
        "video": footage, "mode": "yaw and pitch", "rank": 1, "yaw": 90.0, "pitch": 0.0, "fov": 90.0, "width": 64,
        "height": 36, "start": 0.0, "duration": 0.0, "sound": "auto", **inputs,
    }  # fmt: skip
    saved = {"video": ["1", 0], "filename_prefix": "flat", "format": "auto", "codec": "auto"}
    return {
        "1": {"class_type": "Reframe360Video", "inputs": values},
        "2": {"class_type": "SaveVideo", "inputs": saved},
    }


def written(result: Any) -> Path:
    return Path(result.outputs["1"][0].get_stream_source())


def test_reframe_writes_every_frame_and_turns_the_sound(run: Any, host: Host, footage: str) -> None:
    result = run(prompt(footage))
    assert result.status == "done", result.error
    path = written(result)
    assert path.parent == host.base / "temp"
    assert (probe(path).width, probe(path).height) == (64, 36)
    assert len(result.outputs["1"][0].get_components().images) == 10
    left, right = read_sound(path)[0].waveform.square().mean(1).sqrt()
    # The tone in front lies at the left of a view to the right.
    assert float(right / left) < 0.05


def test_either_widget_sets_the_ambisonic_convention(run: Any, footage: str) -> None:
    def levels(**inputs: Any) -> torch.Tensor:
        result = run(prompt(footage, yaw=0.0, **inputs))
        assert result.status == "done", (result.error, result.complaints)
        return read_sound(written(result))[0].waveform.square().mean(1).sqrt()

    by_name, older, before = levels(ambisonics="fuma"), levels(channels="FuMa"), levels(ambisonics="image")
    # Read as FuMa, the fourth channel (AmbiX's ahead) is up: no level ahead or at a side.
    assert torch.equal(by_name, older) and torch.equal(before, levels())
    assert float(before[0] / by_name[0]) == pytest.approx(0.629 / (0.5 * 2**0.5), rel=0.02)
    result = run(prompt(footage, channels="FuMa", ambisonics="n3d"))
    assert "channels is FuMa and ambisonics 'n3d'" in str(result.error)
    assert run(prompt(footage, ambisonics="b")).status == "refused"


def test_the_sample_stands_in_for_a_file(run: Any) -> None:
    result = run(prompt("[built-in sample]", mode="follow", duration=0.5))
    assert result.status == "done", result.error
    parts = result.outputs["1"][0].get_components()
    assert parts.images.shape == (4, 36, 64, 3) and parts.audio["waveform"].shape[1] == 2
    assert parts.images.std() > 0.05


def test_an_unchanged_reframe_runs_once(host: Host, footage: str) -> None:
    host.free()
    assert "1" in host.run(prompt(footage)).executed
    assert host.run(prompt(footage)).executed == []


def test_cancel_removes_the_unfinished_file(run: Any, host: Host, footage: str) -> None:
    before = set((host.base / "temp").iterdir())
    seen: list[float] = []

    def stop(node: str, done: float, total: float) -> None:
        seen.append(done)
        if done == 3:
            host.interrupt()

    assert run(prompt(footage), stop).status == "interrupted"
    assert max(seen) == 3 and set((host.base / "temp").iterdir()) == before


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"mode": "keyframes"}, "there are no keyframes"), ({"height": 8194}, "height"),
        ({"video": "gone.mp4"}, "there is no file 'gone.mp4'"), ({"mode": "away"}, "the mode 'away' is not available"),
        ({"method": "gone.pt"}, "the saliency method 'gone.pt' is not available"),
    ],
)  # fmt: skip
def test_wrong_widgets_are_refused_at_submission(run: Any, footage: str, inputs: dict[str, Any], words: str) -> None:
    result = run(prompt(footage, **inputs))
    assert result.status == "refused" and words in "\n".join(result.complaints["1"]), result.complaints


def test_each_sentence_stands_under_its_own_input(run: Any) -> None:
    told = run(
        prompt("gone.mp4", height=8194, mode="keyframes", keyframes="", method="gone.pt", ambisonics="b")
    ).complaints["1"]
    at = {words: [line.split()[0].rstrip(":") for line in told if words in line]
          for words in ("no file 'gone.mp4'", "8192", "no keyframes", "saliency method", "Ambisonics 'b'")}  # fmt: skip
    # Mode and keyframes must agree, so that the server tells both.
    assert list(at.values()) == [["video"], ["height"], ["keyframes", "mode"], ["method"], ["ambisonics"]]


def test_one_side_follows_from_the_other_and_odd_ones_are_made_even(run: Any, footage: str) -> None:
    for inputs, size in (({"width": 64, "height": 0}, (64, 36)), ({"width": 0, "height": 64}, (114, 64)),
                         ({"width": 63, "height": 35}, (64, 36))):  # fmt: skip
        result = run(prompt(footage, aspect="16:9", **inputs))
        assert result.status == "done", result.error
        info = probe(written(result))
        assert (info.width, info.height) == size
    assert "63 pixels became 64" in result.outputs["1"][1] and "35 pixels became 36" in result.outputs["1"][1]
    result = run(prompt(footage, width=16, height=0, aspect="21:9"))
    assert result.status == "error" and "6 pixels were asked for" in str(result.error)


def test_files_outside_the_input_folder_are_refused(run: Any, footage: str, tmp_path: Path) -> None:
    result = run(prompt("../secret.mp4"))
    assert result.status == "refused" and "outside" in str(result.complaints["1"])


def save_graph(prefix: str = "video/pano", stereo: str = "mono") -> dict[str, Any]:
    load = {"video": "in.mp4", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"}
    saved = {"frames": ["1", 0], "fps": 8.0, "filename_prefix": prefix, "stereo": stereo, "audio": ["1", 1]}
    return {
        "1": {"class_type": "Load360Video", "inputs": load},
        "2": {"class_type": "Save360Video", "inputs": saved},
    }


@pytest.mark.parametrize("stereo", ["mono", "top-bottom"])
def test_a_saved_panorama_has_spherical_metadata(run: Any, host: Host, footage: str, stereo: str) -> None:
    result = run(save_graph(stereo=stereo))
    assert result.status == "done", result.error
    (saved,) = result.ui["2"]["images"]
    info = probe(host.base / saved["type"] / saved["subfolder"] / saved["filename"])
    assert (info.spherical.projection, info.spherical.stereo) == ("equirectangular", stereo)
    assert (info.audio_tracks[0].layout, info.audio_tracks[0].notices) == ("ambix", ())
    sound = read_sound(info.path)[0].waveform
    w, y, _, x = sound[:, 3000:12000].square().mean(1).sqrt()
    assert float(x / w) == pytest.approx(1, abs=0.02) and float(y / w) < 0.02


def test_a_saved_panorama_holds_the_workflow_as_cores_videos_do(
    run: Any, host: Host, footage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tags(prefix: str) -> dict[str, str]:
        (saved,) = run(save_graph(prefix)).ui["2"]["images"]
        path = host.base / saved["type"] / saved["subfolder"] / saved["filename"]
        assert probe(path).spherical.projection == "equirectangular" and read_sound(path)[0].layout == "ambix"
        assert saved["filename"].startswith(str(date.today().year))
        with av.open(str(path)) as container:
            return dict(container.metadata)

    assert json.loads(tags("tagged/%date:yyyy%")["prompt"]) == save_graph("tagged/%date:yyyy%")
    monkeypatch.setattr(host._modules["comfy.cli_args"].args, "disable_metadata", True)
    assert "prompt" not in tags("plain/%date:yyyy%")


@pytest.mark.parametrize(
    ("width", "height", "stereo", "told"),
    [
        (64, 64, "mono", True), (64, 32, "mono", False), (64, 64, "top-bottom", False), (64, 32, "top-bottom", False),
        (128, 32, "left-right", False), (64, 64, "left-right", True), (32, 64, "mono", True),
    ],
)  # fmt: skip
def test_a_picture_that_is_no_panorama_is_labelled_with_a_notice(
    host: Host, pack: Any, caplog: pytest.LogCaptureFixture, width: int, height: int, stereo: str, told: bool
) -> None:
    with installed(host._modules):
        saved = pack("nodes.save").Save360Video.execute(torch.rand(2, height, width, 3), 8.0, "shape", stereo)
    (notices,) = [shown["notices"] for shown in saved.ui["con360"]]
    assert (f"{width}x{height}" in caplog.text) is told and len(notices) == int(told)


def test_loudspeakers_odd_rates_and_peaks_are_made_to_fit(
    host: Host, pack: Any, caplog: pytest.LogCaptureFixture
) -> None:
    six = torch.zeros(1, 6, 37800)
    # A tone that begins and ends softly: a hard end has peaks between its samples.
    six[0, 2] = 2 * torch.hann_window(37800) * torch.sin(torch.arange(37800) * 0.05)
    with installed(host._modules), caplog.at_level("WARNING"):
        node = pack("nodes.save").Save360Video
        saved = node.execute(torch.rand(8, 32, 64, 3), 8.0, "six", "mono", {"waveform": six, "sample_rate": 37800})
    (entry,) = saved.ui["images"]
    sound = read_sound(host.base / entry["type"] / entry["subfolder"] / entry["filename"])[0]
    assert (sound.waveform.shape, sound.sample_rate_hz) == ((2, 44100), 44100)
    assert float(sound.waveform.abs().max()) == pytest.approx(0.95, abs=0.03)
    assert all(words in caplog.text for words in ("BS.775", "37800 to 44100 Hz", "turned down by 3."))


def test_saving_outside_the_output_folder_is_refused(run: Any, footage: str) -> None:
    result = run(save_graph("../../away"))
    assert result.status == "refused" and "outside" in str(result.complaints["2"])


def test_s_kl_is_zero_for_equal_clips_and_not_for_others(pack: Any, host: Host) -> None:
    clips = torch.rand(2, 4, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    clips[1, :, 10:20, 4:12] = torch.tensor([1.0, 0.0, 0.0])
    with installed(host._modules):
        node = pack("nodes.metrics").Con360SaliencyKL
        equal = node.execute(clips[0], clips[0], "generated_to_target").args
        other = node.execute(clips[0], clips[1], "generated_to_target").args
    assert equal[0] == pytest.approx(0, abs=1e-9)
    assert other[0] > 0.01
    assert "estimator" in other[1]
