"""Load 360° Video, Centroid→BASD and Viewpoint Crop, run in the stand-in."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_clips import write_video

from con360.media.writer import write_clip
from con360.records import Sound, View, ViewTrack
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin

SAMPLE = "[built-in sample]"


def load(video: str = SAMPLE, **inputs: Any) -> dict[str, Any]:
    values = {"video": video, "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto", **inputs}
    return {"class_type": "Load360Video", "inputs": values}


def basd(saliency: Any, **inputs: Any) -> dict[str, Any]:
    values = {
        "saliency": saliency, "fps": 8.0, "choose_by": "centroid", "rank": 1, "mode": "still", "yaw": 0.0,
        "pitch": 0.0, "fov": 90.0, "normalization": "minmax", **inputs,
    }  # fmt: skip
    return {"class_type": "CentroidToBASD", "inputs": values}


def ends(prompt: dict[str, Any], **links: list[Any]) -> dict[str, Any]:
    """Put a preview behind each link, so that every node runs."""
    kinds = {"images": "PreviewImage", "audio": "PreviewAudio"}
    for number, (name, link) in enumerate(links.items()):
        prompt[f"end{number}"] = {"class_type": kinds[name], "inputs": {name: link}}
    return prompt


@pytest.fixture
def clip_file(host: Host) -> Path:
    path = host.base / "input" / "clip.mp4"
    time_s = torch.arange(32000) / 16000
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * time_s)
    frames = torch.linspace(0, 1, 16)[:, None, None, None].expand(16, 3, 64, 128).contiguous()
    write_clip(path, frames, 8.0, Sound(tone[None], 16000))
    return path


# ---- Load 360° Video


def test_the_sample_needs_no_file_and_brings_its_caption(run: Any) -> None:
    done = run(ends({"1": load()}, images=["1", 0]))
    frames, audio, fps, caption, notices = done.outputs["1"]
    assert frames.shape == (4, 64, 128, 3)
    assert (audio["waveform"].shape, audio["sample_rate"], audio["con360_layout"]) == ((1, 4, 8000), 16000, "ambix")
    assert fps == 8.0
    assert caption == demo_scene().caption().short
    assert "procedural" in notices


def test_a_file_is_read_with_its_sound(run: Any, clip_file: Path) -> None:
    done = run(ends({"1": load("clip.mp4", start=1.0, duration=0.5, fps=4.0)}, images=["1", 0]))
    assert done.status == "done", done.error
    frames, audio, fps, caption, _ = done.outputs["1"]
    assert frames.shape == (2, 64, 128, 3)
    # The ramp's value at 1 s is frame 8 of 16.
    assert frames[0].mean().item() == pytest.approx(8 / 15, abs=0.03)
    assert audio["waveform"].shape == (1, 1, 8000)
    assert audio["waveform"].abs().max().item() == pytest.approx(0.3, abs=0.05)
    assert (fps, caption) == (4.0, "")


@pytest.mark.parametrize(
    ("word", "layout", "said"),
    [("auto", "ambix", "taken as AmbiX"), ("fuma", "ambix", ""), ("none", "other", "taken as quad"),
     # Older workflows have this value in the widget's place.
     ("image", "ambix", "taken as AmbiX")],
)  # fmt: skip
def test_a_widget_tells_the_layout_of_four_channels(host: Host, run: Any, word: str, layout: str, said: str) -> None:
    sound = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32).repeat(16000, 1)
    write_video(host.base / "input" / "four.mov", [i / 8 for i in range(4)], sound=sound, rate_hz=16000,
                layout="4 channels", sound_codec="pcm_f32le")  # fmt: skip
    done = run(ends({"1": load("four.mov", ambisonics=word)}, images=["1", 0]))
    assert done.status == "done", (done.error, done.complaints)
    _, audio, _, _, notices = done.outputs["1"]
    wanted = [0.1 * math.sqrt(2), 0.3, 0.4, 0.2] if word == "fuma" else [0.1, 0.2, 0.3, 0.4]
    assert audio["con360_layout"] == layout and said in notices
    assert audio["waveform"][0, :, 100].tolist() == pytest.approx(wanted)


def test_a_head_locked_pair_follows_the_ambisonic_channels(host: Host, run: Any) -> None:
    sound = np.array([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]], np.float32).repeat(16000, 1)
    write_video(host.base / "input" / "six.mov", [i / 8 for i in range(4)], sound=sound, rate_hz=16000,
                layout="6 channels", sound_codec="pcm_f32le")  # fmt: skip
    audio = run(ends({"1": load("six.mov", head_locked=True)}, images=["1", 0])).outputs["1"][1]
    assert (audio["con360_layout"], audio["waveform"].shape[1]) == ("ambix", 6)
    audio = run(ends({"1": load("six.mov")}, images=["1", 0])).outputs["1"][1]
    assert (audio["con360_layout"], audio["con360_speakers"][2:4]) == ("other", ("FC", "LFE"))


def test_a_vr180_file_is_laid_out_and_shown(host: Host, run: Any) -> None:
    # Two squares side by side, which hold all but the colour of what lies behind.
    frames = torch.ones(4, 3, 64, 128)
    frames[..., 64:] = 0.5
    write_clip(host.base / "input" / "vr180.mp4", frames, 8.0, None)
    half, black = slice(32, 96), [*range(30), *range(98, 128)]
    for eye, value in (("auto", 1.0), ("right", 0.5)):
        done = run(ends({"1": load("vr180.mp4", eye=eye, projection="vr180")}, images=["1", 0]))
        assert done.status == "done", (done.error, done.complaints)
        image, *_, notices = done.outputs["1"]
        assert image[:, :, half].mean().item() == pytest.approx(value, abs=0.03) and image[:, :, black].max() == 0
        assert "part of the sphere" in notices and done.ui["1"]["con360"][0]["unfolded"]["frames"] == 4
    level = {"video": "vr180.mp4", "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "auto": False, "filename_prefix": "laid"}
    done = run({"1": {"class_type": "Con360Level360Video", "inputs": {**level, "projection": "vr180"}}})
    shown = done.ui["1"]["con360"][0]
    assert shown["levelled"]["stereo"] == "left-right" and shown["unfolded"]["fps"] == 4.0
    assert "unfolded" not in run({"1": {"class_type": "Con360Level360Video", "inputs": level}}).ui["1"]["con360"][0]


@pytest.mark.parametrize("inputs", [{"ambisonics": "b"}, {"ambisonics": "none", "head_locked": True}])
def test_channels_are_checked_before_anything_runs(run: Any, inputs: dict[str, Any]) -> None:
    assert run(ends({"1": load(**inputs)}, images=["1", 0])).status == "refused"


def test_a_file_without_sound_gives_silence_and_says_so(host: Host, run: Any) -> None:
    write_clip(host.base / "input" / "mute.mp4", torch.rand(4, 3, 64, 128), 8.0, None)
    _, audio, _, _, notices = run(ends({"1": load("mute.mp4")}, images=["1", 0])).outputs["1"]
    assert audio["waveform"].shape == (1, 1, 8000)
    assert not audio["waveform"].any()
    assert "sound" in notices


@pytest.mark.parametrize("name", ["../secret.mp4", "gone.mp4", "/etc/hostname"])
def test_names_are_checked_before_anything_runs(run: Any, name: str) -> None:
    done = run(ends({"1": load(name)}, images=["1", 0]))
    assert done.status == "refused"
    assert name in done.complaints["1"][0]


def test_an_odd_height_becomes_the_next_even_one_with_a_notice(run: Any) -> None:
    frames, _, _, _, notices = run(ends({"1": load(height=101)}, images=["1", 0])).outputs["1"]
    assert frames.shape[1:3] == (102, 204) and notices.startswith("101 pixels became 102: ")


def test_a_height_out_of_range_that_arrives_over_a_link_is_refused(host: Host, pack: Any) -> None:
    with installed(host._modules), pytest.raises(pack("con360.errors").InputError, match="64 to 4096"):
        host.classes["Load360Video"].execute(**{**load()["inputs"], "height": 4098})


@pytest.mark.parametrize("height", [62, 4098])
def test_a_height_out_of_range_is_refused_before_anything_runs(run: Any, height: int) -> None:
    assert run(ends({"1": load(height=height)}, images=["1", 0])).status == "refused"


def test_a_name_that_arrives_over_a_link_is_checked_when_it_runs(host: Host, pack: Any) -> None:
    # Validation sees None for what is linked.
    node = host.classes["Load360Video"]
    assert node.validate_inputs(ambisonics=None, head_locked=None) is True
    with installed(host._modules), pytest.raises(pack("con360.errors").InputError, match="outside"):
        node.execute(**{**load()["inputs"], "video": "../secret.mp4"})


def test_a_word_that_arrives_over_a_link_is_checked_when_it_runs(host: Host, pack: Any) -> None:
    with installed(host._modules), pytest.raises(pack("con360.errors").InputError, match="the eye 'third' is not"):
        host.classes["Load360Video"].execute(**{**load()["inputs"], "eye": "third"})


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100], ids=["empty", "text"])
def test_broken_files_fail_in_one_sentence(host: Host, run: Any, pack: Any, content: bytes) -> None:
    (host.base / "input" / "broken.mp4").write_bytes(content)
    done = run(ends({"1": load("broken.mp4")}, images=["1", 0]))
    assert isinstance(done.error, pack("con360.errors").InputError)
    assert "broken.mp4" in str(done.error)


def test_a_file_is_read_again_only_when_it_changed(host: Host, clip_file: Path) -> None:
    prompt = ends({"1": load("clip.mp4")}, images=["1", 0])
    host.free()
    assert "1" in host.run(prompt).executed
    assert "1" in host.run(prompt).cached
    status = clip_file.stat()
    os.utime(clip_file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert "1" in host.run(prompt).executed


def test_reading_stops_when_cancelled(host: Host, run: Any, clip_file: Path) -> None:
    seen = []

    def stop(node: str, done: float, total: float) -> None:
        seen.append(done)
        if done >= 2:
            host.interrupt()

    done = run(ends({"1": load("clip.mp4", duration=2.0)}, images=["1", 0]), stop)
    assert (done.status, done.failed_node) == ("interrupted", "1")
    assert seen[-1] == 2
    assert run(ends({"1": load("clip.mp4")}, images=["1", 0])).status == "done"


def test_a_start_within_the_sample_is_refused_by_name(run: Any) -> None:
    assert "begins at 0 s" in str(run(ends({"1": load(start=1.0)}, images=["1", 0])).error)


# ---- Centroid→BASD


class TestViewpoint:
    """Centroid→BASD on a given saliency mask: two blobs, the larger to the right."""

    @pytest.fixture
    def chosen(self, host: Host, run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        from tools.host.v3 import ComfyNode, NodeOutput, Schema, io

        mask = torch.zeros(4, 32, 64)
        mask[:, 12:20, 44:52] = 1.0
        mask[:, 14:18, 6:10] = 0.9

        class Blobs(ComfyNode):
            value = mask

            @classmethod
            def define_schema(cls) -> Schema:
                return Schema(node_id="Blobs", category="test", inputs=[], outputs=[io.Mask.Output()])

            @classmethod
            def execute(cls) -> NodeOutput:
                return NodeOutput(cls.value)

        monkeypatch.setattr(host, "classes", {**host.classes, "Blobs": Blobs})

        def go(**inputs: Any) -> Any:
            prompt = {"0": {"class_type": "Blobs", "inputs": {}}, "1": basd(["0", 0], **inputs)}
            prompt["2"] = {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}}
            return run(ends(prompt, images=["2", 0]))

        return go

    def test_rank_one_is_the_heavier_region(self, chosen: Any) -> None:
        record, preview, yaw, pitch, fov, _ = chosen().outputs["1"]
        # Columns 44 to 51 of 64 are centred on (48 / 64 - 0.5) * 360 degrees.
        assert yaw == pytest.approx(90.0, abs=0.5)
        assert pitch == pytest.approx(0.0, abs=0.5)
        assert fov == 90.0
        assert record.fps == 8.0
        assert len(record.maps.track) == 4
        assert preview.shape == (4, 32, 64)
        assert preview[0, 16, 48] > preview[0, 16, 8]

    def test_rank_two_is_the_other_and_a_rank_beyond_is_refused(self, chosen: Any) -> None:
        assert chosen(rank=2).outputs["1"][2] == pytest.approx(-135.0, abs=0.5)
        assert "viewpoint 3 was asked for, 2 found" in str(chosen(rank=3).error)

    def test_angles_by_hand(self, chosen: Any) -> None:
        record, _, yaw, pitch, fov, _ = chosen(choose_by="yaw and pitch", yaw=-30.0, pitch=20.0, fov=60.0).outputs["1"]
        assert (yaw, pitch, fov) == (-30.0, 20.0, 60.0)
        assert record.first_view.fov_deg == 60.0

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ({"choose_by": "yaw and pitch", "yaw": float("nan")}, "yaw"),
            ({"choose_by": "yaw and pitch", "pitch": float("nan")}, "pitch"),
            ({"fov": float("nan")}, "field of view"),
        ],
    )  # fmt: skip
    def test_values_that_the_server_lets_through_are_refused(
        self, chosen: Any, pack: Any, inputs: dict[str, Any], words: str
    ) -> None:
        done = chosen(**inputs)
        assert isinstance(done.error, pack("con360.errors").InputError)
        assert words in str(done.error)

    def test_ranges_are_held_by_the_server(self, chosen: Any) -> None:
        done = chosen(fov=151.0, rank=0, pitch=-91.0)
        assert len(done.complaints["1"]) == 3

    def test_a_track_has_one_view_per_frame(self, chosen: Any) -> None:
        record = chosen(mode="track").outputs["1"][0]
        assert len(record.maps.track) == 4


# ---- Viewpoint Crop


def crop_of(run: Any, on_progress: Any = None, without: tuple[str, ...] = (), **inputs: Any) -> Any:
    """Crop the sample to a view set by hand, to the right."""
    mask = {"class_type": "SampleMask", "inputs": {"frames": ["1", 0]}}
    prompt = {
        "1": load(height=128), "2": mask,
        "3": basd(["2", 0], choose_by="yaw and pitch", yaw=95.0, pitch=-3.0),
        "4": {"class_type": "Con360ViewpointCrop", "inputs": {
            "frames": ["1", 0], "basd": ["3", 0], "size": 64, "sound": "view", "audio": ["1", 1], **inputs}},
    }  # fmt: skip
    for name in without:
        del prompt["4"]["inputs"][name]
    return run(ends(prompt, images=["4", 0], audio=["4", 1]), on_progress)


@pytest.fixture
def sample_mask(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that turns frames into a flat mask of their size."""
    from tools.host.v3 import ComfyNode, NodeOutput, Schema, io

    class SampleMask(ComfyNode):
        @classmethod
        def define_schema(cls) -> Schema:
            return Schema(
                node_id="SampleMask", category="test", inputs=[io.Image.Input("frames")], outputs=[io.Mask.Output()]
            )

        @classmethod
        def execute(cls, frames: torch.Tensor) -> NodeOutput:
            return NodeOutput(torch.zeros_like(frames[..., 0]))

    monkeypatch.setattr(host, "classes", {**host.classes, "SampleMask": SampleMask})


@pytest.mark.usefixtures("sample_mask")
class TestCrop:
    def test_shows_the_scene_in_its_direction(self, run: Any) -> None:
        done = crop_of(run)
        assert done.status == "done", done.error
        frames, audio, video = done.outputs["4"]
        truth = demo_scene().view_frames(ViewTrack.still(View(95.0, -3.0), 4), 64, ClipSpec(seconds=0.5))
        assert (frames - truth.movedim(1, -1)).abs().mean() < 0.02
        # The green triangle to the right fills the middle.
        assert frames[0, 32, 32, 1] > 2 * frames[0, 32, 32, 0]
        assert audio["waveform"].shape == (1, 1, 8000)
        assert video.get_duration() == 0.5

    def test_two_ears_hear_the_view_in_stereo(self, run: Any) -> None:
        done = crop_of(run, sound="headphones")
        assert done.status == "done", done.error
        heard = done.outputs["4"][1]["waveform"]
        assert heard.shape == (1, 2, 8000) and (heard[0, 0] - heard[0, 1]).abs().max() > 0.01
        assert "headphones need Ambisonics" in str(crop_of(run, sound="headphones", ambisonics="none").error)

    def test_the_view_hears_its_own_performer_louder(self, run: Any) -> None:
        def ratio(done: Any) -> float:
            spectrum = torch.fft.rfft(done.outputs["4"][1]["waveform"][0, 0]).abs()
            hz = torch.fft.rfftfreq(8000, 1 / 16000)
            chirp = spectrum[(hz > 2300) & (hz < 3900)].norm()  # on the right, in view
            tick = spectrum[(hz > 4800) & (hz < 7400)].norm()  # on the left, behind the camera
            return (chirp / tick).item()

        # 0.75 + 0.25 cos a is about 1 ahead and 0.5 behind; the downmix hears both alike.
        assert ratio(crop_of(run)) / ratio(crop_of(run, sound="omni")) == pytest.approx(2.0, abs=0.2)

        # Read as N3D, the dipoles weigh 1 / sqrt(3): 0.894 ahead, 0.606 behind.
        assert ratio(crop_of(run, ambisonics="n3d")) / ratio(crop_of(run, sound="omni")) == pytest.approx(1.48, abs=0.1)
        assert ratio(crop_of(run, ambisonics="none")) != pytest.approx(ratio(crop_of(run)), rel=0.1)

    def test_without_sound_it_is_silent_and_as_long_as_the_picture(self, run: Any) -> None:
        waveform = crop_of(run, without=("audio",)).outputs["4"][1]["waveform"]
        assert waveform.shape == (1, 1, 8000)
        assert not waveform.any()

    def test_cancels(self, host: Host, run: Any) -> None:
        def stop(node: str, done: float, total: float) -> None:
            if node == "4":
                host.interrupt()

        done = crop_of(run, stop)
        assert (done.status, done.failed_node) == ("interrupted", "4")

    def test_an_odd_size_becomes_even_with_a_line_in_the_log(
        self, run: Any, caplog: pytest.LogCaptureFixture
    ) -> None:  # fmt: skip
        assert crop_of(run, size=65).outputs["4"][0].shape[1:3] == (66, 66)
        assert "65 pixels became 66" in caplog.text

    def test_refuses_layouts_that_do_not_fit_the_channels(self, run: Any) -> None:
        assert "6, 11 or 18 channels" in str(crop_of(run, head_locked=True).error)
