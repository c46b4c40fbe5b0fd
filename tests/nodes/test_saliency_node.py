"""SalViT360 Saliency with sound, faces and a control, and in older workflows; run in the stand-in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_workflow import tiny_workflow, write_model_files

from con360.choices import MULTICUE, TRAINING_FREE
from con360.records import PanoramaClip, Sound
from con360.saliency.human_faces import HumanFace
from con360.saliency.predict import clip_saliency, predict_saliency
from con360.scenes import demo_scene
from con360.sound.ambisonics import encode
from con360.timing import ClipSpec
from con360.viewpoint.choose import viewpoints
from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin

NODE = {MULTICUE: "multi-cue (built in)", TRAINING_FREE: "training-free (built in)"}


@pytest.fixture(scope="module")
def clip() -> PanoramaClip:
    """The sample's picture, and a tone up to the right of it."""
    tone = encode(0.3 * torch.sin(torch.arange(8000) * 0.2), 120.0, 20.0)
    return replace(demo_scene().panorama(64, ClipSpec(seconds=0.5)), sound=Sound(tone, 16000, "ambix"))


@pytest.fixture(scope="module")
def control(host: Host, pack: Any) -> Any:
    """Make the value of a control link; the control was trained with training-free maps."""
    write_model_files(host.base / "models")
    with installed(host._modules):
        return host.classes["Con360ControlLoader"].execute("random.safetensors").args[0]


@pytest.fixture
def saliency(host: Host, clip: PanoramaClip) -> Any:
    """`saliency(method, ...)`: both outputs for the sample, its sound connected."""
    frames = clip.frames.movedim(1, -1)
    audio = {
        "waveform": clip.sound.waveform[None], "sample_rate": clip.sound.sample_rate_hz, "con360_layout": "ambix",
    }  # fmt: skip

    def run(method: str = MULTICUE, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with installed(host._modules):
            node = host.classes["SalViT360Saliency"]
            return node.execute(**{"frames": frames, "method": NODE[method], "audio": audio, **inputs}).args

    return run


@pytest.fixture
def detector(host: Host, pack: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Files in models/con360_faces; the detectors made of them find a face up to the left."""
    folder = host.base / "models" / "con360_faces"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.onnx", "b.onnx"):
        (folder / name).write_bytes(b"")
    opened: list[str] = []

    class Found:
        def __init__(self, path: Path) -> None:
            opened.append(path.name)

        def find(self, frame: Any) -> tuple[HumanFace, ...]:
            return (HumanFace(-130.0, 30.0, 8.0, 1.0),)

    monkeypatch.setattr(pack("con360.saliency.human_faces"), "FaceDetector", Found)
    yield SimpleNamespace(opened=opened, class_=Found)
    for path in folder.iterdir():
        path.unlink()


def test_every_cue_that_is_connected_is_used(saliency: Any, clip: PanoramaClip) -> None:
    found, for_control = saliency()
    assert torch.equal(found, clip_saliency(clip, MULTICUE).maps)
    assert torch.equal(for_control, found)
    deaf, _ = saliency(audio=None)
    assert torch.equal(deaf, predict_saliency(clip.frames, fps=clip.fps).maps) and not torch.equal(deaf, found)
    assert not torch.equal(saliency(fps=30.0)[0], found)


@pytest.mark.parametrize("fps", [math.nan, math.inf, 0.0, -8.0, 1e9])
def test_a_rate_that_a_link_brings_is_checked(saliency: Any, pack: Any, fps: float) -> None:
    with pytest.raises(pack("con360.errors").InputError, match="per second"):
        saliency(fps=fps)


def test_a_control_gets_the_maps_that_it_was_trained_with(
    saliency: Any, control: Any, clip: PanoramaClip, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    found, for_control = saliency(control=control)
    assert torch.equal(found, clip_saliency(clip, MULTICUE).maps)
    assert torch.equal(for_control, predict_saliency(clip.frames, TRAINING_FREE).maps)

    # The maps are computed once where the methods agree.
    asked = []
    once = pack("con360.saliency.predict").clip_saliency
    for module in ("con360.saliency.predict", "con360.pipeline"):
        monkeypatch.setattr(pack(module), "clip_saliency", lambda *a, **k: asked.append(a[1]) or once(*a, **k))
    found, for_control = saliency(TRAINING_FREE, control=control)
    assert asked == [TRAINING_FREE] and torch.equal(found, for_control)


def test_a_control_trained_with_other_saliency_weights_is_warned_about(
    saliency: Any, control: Any, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    other = replace(control, control=replace(control.control, saliency="SalViT360 dinov2 (mine.pt)"))
    found, for_control = saliency(control=other)
    assert torch.equal(found, for_control)
    assert "was trained with saliency by SalViT360 dinov2 (mine.pt)" in caplog.text


def test_the_first_or_the_chosen_detector_looks_for_faces(
    host: Host, saliency: Any, detector: Any, clip: PanoramaClip, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    given = host.object_info()["SalViT360Saliency"]["input"]["optional"]["faces"][1]
    assert (given["options"], given["default"]) == (["auto", "none", "a.onnx", "b.onnx"], "auto")
    seen = saliency()[0]
    assert torch.equal(seen, clip_saliency(clip, MULTICUE, detector=detector.class_(Path("a.onnx"))).maps)
    plain = saliency(faces="none")[0]
    # Up to the left, where the detector finds the face.
    assert (seen - plain)[:, 64:128, :100].max() > 0.1
    detector.opened.clear()
    saliency(faces="b.onnx")
    assert detector.opened == ["b.onnx"]
    saliency(TRAINING_FREE, faces="b.onnx")
    assert detector.opened == ["b.onnx"] and "does not look for faces" in caplog.text


def test_a_missing_detector_is_named_with_its_place(run: Any, pack: Any) -> None:
    prompt = {key: node for key, node in tiny_workflow().items() if key in "12"}
    prompt["2"]["inputs"]["faces"] = "centerface.onnx"
    prompt["3"] = {"class_type": "MaskToImage", "inputs": {"mask": ["2", 1]}}
    prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    (complaint,) = run(prompt).complaints["2"]
    for words in ("'centerface.onnx' is not available", "models/con360_faces/centerface.onnx", "MIT"):
        assert words in complaint
    prompt["2"]["inputs"]["faces"] = "none"
    assert run(prompt).status == "done"


def test_a_file_that_is_no_detector_is_refused_in_one_sentence(host: Host, saliency: Any, pack: Any) -> None:
    path = host.base / "models" / "con360_faces" / "broken.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no network")
    try:
        with pytest.raises(pack("con360.errors").InputError, match="broken.onnx is no face detector"):
            saliency()
    finally:
        path.unlink()


def test_a_new_detector_counts_as_a_change(host: Host, detector: Any) -> None:
    with installed(host._modules):
        for node, inputs in (("SalViT360Saliency", {"method": NODE[MULTICUE]}),
                             ("Reframe360Video", {"video": "[built-in sample]", "mode": "follow"})):  # fmt: skip
            before = host.classes[node].fingerprint_inputs(**inputs)
            (host.base / "models" / "con360_faces" / "a.onnx").write_bytes(node.encode())
            assert host.classes[node].fingerprint_inputs(**inputs) != before


def test_reframing_follows_with_the_detector(
    host: Host, run: Any, detector: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    values = {
        "video": "[built-in sample]", "mode": "follow", "rank": 1, "yaw": 0.0, "pitch": 0.0, "fov": 90.0, "width": 32,
        "height": 32, "start": 0.0, "duration": 0.5, "sound": "none",
    }  # fmt: skip
    saved = {"video": ["1", 0], "filename_prefix": "flat", "format": "auto", "codec": "auto"}
    nodes = {"1": ("Reframe360Video", values), "2": ("SaveVideo", saved)}
    prompt = {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
    assert run(prompt).status == "done" and detector.opened == ["a.onnx"]
    values["mode"] = "yaw and pitch"
    assert run(prompt).status == "done" and detector.opened == ["a.onnx"]


def test_saved_workflows_keep_their_saliency_and_their_centroids(host: Host, run: Any, clip: PanoramaClip) -> None:
    """`tiny_workflow` and this list of centroids predate sound, faces and subjects."""
    write_model_files(host.base / "models")
    prompt = tiny_workflow()
    prompt["11"] = {
        "class_type": "Con360Centroids", "inputs": {"saliency": ["2", 0], "fps": 8.0, "mode": "still", "at_most": 8},
    }  # fmt: skip
    prompt["3"]["inputs"]["rank"] = ["11", 0]
    done = run(prompt)
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    maps = predict_saliency(clip.frames, TRAINING_FREE)
    assert all(torch.equal(output, maps.maps) for output in done.outputs["2"])
    found = viewpoints(maps, 8.0, ranking="centroid")
    views = [viewpoint.track.views[0] for viewpoint in found]
    ranks, yaws, pitches = done.outputs["11"]
    assert (ranks, yaws) == ([v.rank for v in found], [v.yaw_deg for v in views])
    assert pitches == [v.pitch_deg for v in views]
    assert yaws != [v.track.views[0].yaw_deg for v in viewpoints(maps, 8.0)]
