"""Every node's bad values are refused at submission, each under its own input: the later, the dearer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tools.host import Host, graph

# Inputs that must agree: `validate_inputs` names them together, and the server repeats its answer under each.
TOGETHER = [
    {"ambisonics", "head_locked"}, {"choose_by", "keyframes"}, {"mode", "keyframes"}, {"choose_by", "saliency"},
    {"hold"}, {"video", "auto"}, {"model", "pictures"},
    {"source", "track"},
]  # fmt: skip


def told_under(host: Host, kind: str, **inputs: Any) -> dict[str, str]:
    """Sentences by input, of a node whose other widgets have their defaults; unconnected sockets do not count."""
    entry = host.object_info()[kind]
    given = {name: value for name, value in widgets(entry) if value is not None} | inputs
    complaints = host.run({"1": {"class_type": kind, "inputs": given}, "2": sink()}).complaints.get("1", [])
    split = [text.split(" - ", 1) if " - " in text.split(": ")[0] else text.split(": ", 1) for text in complaints]
    return {name: sentence for name, sentence in split if sentence != "a required input is missing"}


def sink() -> dict[str, Any]:
    return {"class_type": "Con360Compare", "inputs": {}}


def widgets(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and defaults of a node's widgets."""
    for _, name, io_type, options in graph.inputs_of(entry):
        if isinstance(io_type, list):
            yield name, options.get("default", io_type[0])
        elif io_type in graph.CONVERSIONS and not options.get("forceInput"):
            yield name, options.get("default", "" if io_type == "STRING" else False)


def ours(host: Host) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Each widget of the pack: node, name, type, options."""
    for kind, entry in host.object_info().items():
        if entry["category"] == "Con360-AV":
            for _, name, io_type, options in graph.inputs_of(entry):
                yield kind, name, io_type, options


def alone(told: dict[str, str], name: str) -> bool:
    """The input is told, and no other one but those that it must agree with."""
    return set(told) == {name} or (name in told and any(set(told) <= names for names in TOGETHER))


def test_every_node_is_fine_with_its_defaults(host: Host) -> None:
    kinds = {kind for kind, *_ in ours(host)}
    assert len(kinds) > 20
    assert {kind: told for kind in kinds if (told := told_under(host, kind))} == {}


def test_every_combo_is_checked_at_submission_under_itself(host: Host) -> None:
    combos = [(kind, name, io_type) for kind, name, io_type, _ in ours(host) if isinstance(io_type, list)]
    assert len(combos) > 25 and not [row for row in ours(host) if row[2] == "COMBO"]
    for kind, name, _ in combos:
        told = told_under(host, kind, **{name: "no such word"})
        assert alone(told, name) and "no such word" in told[name], (kind, name, told)


def test_every_range_is_checked_at_submission_under_itself(host: Host) -> None:
    count = 0
    for kind, name, _, options in ours(host):
        for edge, step in (("min", -1), ("max", 1)):
            if edge in options:
                told = told_under(host, kind, **{name: options[edge] + step})
                assert set(told) == {name}, (kind, name, told)
                count += 1
    assert count > 80


@pytest.mark.parametrize(
    ("kind", "inputs", "name", "words"),
    [
        ("Load360Video", {"video": "gone.mp4"}, "video", "there is no file 'gone.mp4'"),
        ("Load360Video", {"video": "../secret.mp4"}, "video", "outside"),
        ("Load360Video", {"ambisonics": "none", "head_locked": True}, "head_locked", "leave one of them out"),
        ("Con360ViewpointCrop", {"ambisonics": "none", "head_locked": True}, "head_locked", "leave one of them out"),
        ("Con360RotateAmbisonics", {"ambisonics": "none", "head_locked": True}, "head_locked", "leave one"),
        ("Con360AmbisonicsToHeadphones", {"ambisonics": "none", "head_locked": True}, "head_locked", "leave one"),
        ("Con360AmbisonicsPreview", {"ambisonics": "none", "head_locked": True}, "head_locked", "leave one"),
        ("CentroidToBASD", {"choose_by": "keyframes"}, "keyframes", "there are no keyframes"),
        ("CentroidToBASD", {"choose_by": "keyframes", "keyframes": "[{"}, "keyframes", "JSON"),
        ("CentroidToBASD", {"choose_by": "keyframes", "keyframes": '[{"time": 0, "yaw": "x"}]'}, "keyframes", "yaw"),
        ("Con360ViewpointByHand", {"mode": "keyframes"}, "keyframes", "there are no keyframes"),
        ("Con360ViewpointByHand", {"mode": "keyframes", "keyframes": "[{}]"}, "keyframes", "time"),
        ("Con360PlaceSound", {"mode": "keyframes"}, "keyframes", "needs keyframes"),
        ("Con360PlaceSound", {"mode": "keyframes", "keyframes": "{}"}, "keyframes", "no list"),
        ("Con360PlaceSound", {"mode": "subject"}, "mode", "needs saliency"),
        ("Con360PlaceSound", {"mode": "viewpoint"}, "mode", "needs basd"),
        ("Con360PlaceSound", {"mode": "find the place"}, "mode", "needs frames"),
        ("Con360ViewsAround", {"choose_by": "subject"}, "choose_by", "needs saliency"),
        ("JointAVSampler", {"hold": "picture"}, "hold", "start_images is not connected"),
        ("JointAVSampler", {"hold": "sound"}, "hold", "start_audio is not connected"),
        ("Save360Video", {"filename_prefix": "../../away"}, "filename_prefix", "outside"),
        ("Save360Video", {"filename_prefix": "%date:yyyy%/../../away"}, "filename_prefix", "outside"),
        ("Con360ModelLoader", {"model": "svg"}, "model", "licence: "),
        ("Con360ModelLoader", {"vae": "gone"}, "vae", "'gone' is not available"),
        ("Con360ModelLoader", {"connectors": "gone"}, "connectors", "licence: "),
        ("Con360ControlLoader", {"control": "gone"}, "control", "licence: "),
        ("SalViT360Saliency", {"method": "salvit"}, "method", "licence: "),
        ("SalViT360Saliency", {"faces": "gone.onnx"}, "faces", "licence: "),
        ("CubemapCaption", {"captioner": "blip"}, "captioner", "licence: "),
        ("CubemapCaption", {"language_model": "llama"}, "language_model", "licence: "),
        ("Con360AmbisonicsToHeadphones", {"ears": "mine.sofa"}, "ears", "mine.sofa"),
        ("Con360OmniAudioLoader", {"model": "model.ckpt"}, "model", "licence: "),
        ("Con360OmniAudioLoader", {"pictures": "metaclip"}, "pictures", "licence: "),
        ("Con360VideoToAmbisonics", {"cfg": 0.5}, "cfg", "choose 1 to 30, or 0"),
    ],
)  # fmt: skip
def test_what_a_node_alone_can_know_is_told_at_submission(
    host: Host, kind: str, inputs: dict[str, Any], name: str, words: str
) -> None:
    told = told_under(host, kind, **inputs)
    assert alone(told, name) and words in told[name], told


def test_what_is_linked_waits_for_its_value(host: Host) -> None:
    """A linked widget or socket is no missing one."""
    for kind, inputs in (
        ("CentroidToBASD", {"choose_by": "keyframes", "keyframes": ["3", 3]}),
        ("Con360ViewsAround", {"choose_by": "subject", "saliency": ["4", 0]}),
        ("Con360PlaceSound", {"mode": "subject", "saliency": ["4", 0]}),
        ("JointAVSampler", {"hold": "sound", "start_audio": ["3", 1]}),
    ):
        load = {"class_type": "Load360Video", "inputs": dict(widgets(host.object_info()["Load360Video"]))}
        look = {"class_type": "SalViT360Saliency", "inputs": {"frames": ["3", 0], "method": "multi-cue (built in)"}}
        given = dict(widgets(host.object_info()[kind])) | inputs
        prompt = {"1": {"class_type": kind, "inputs": given}, "2": sink(), "3": load, "4": look}
        complaints = host.run(prompt).complaints.get("1", [])
        assert all("a required input is missing" in text for text in complaints), (kind, complaints)
