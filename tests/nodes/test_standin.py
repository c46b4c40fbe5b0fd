"""The stand-in's own behaviour: what it checks, caches, cancels and refuses, on two nodes written for these tests."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tools.host import Host, graph
from tools.host.modules import InterruptProcessingException, build, installed
from tools.host.v3 import ComfyNode, NodeOutput, Schema, io

pytestmark = pytest.mark.standin


class Numbers(ComfyNode):
    """A node with every kind of widget; tests set its result and count its runs."""

    answer: Any = NodeOutput(1.5)
    calls: list[dict[str, Any]] = []

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="Numbers", category="test", outputs=[io.Float.Output()],
            inputs=[
                io.Int.Input("count", default=1, min=0, max=9, control_after_generate=True),
                io.Float.Input("size", default=0.5, min=0.0, max=1.0),
                io.Combo.Input("kind", options=["a", "b"]), io.String.Input("words", optional=True),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, **inputs: Any) -> NodeOutput:
        cls.calls.append({**inputs, "inference": torch.is_inference_mode_enabled()})
        return cls.answer(cls) if callable(cls.answer) else cls.answer


class Sink(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(node_id="Sink", category="test", is_output_node=True, inputs=[io.Float.Input("value")])

    @classmethod
    def execute(cls, value: float) -> NodeOutput:
        return NodeOutput(ui={"value": [value]})


@pytest.fixture
def bench(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host with the two nodes above."""
    host.free()
    monkeypatch.setattr(host, "classes", {**host.classes, "Numbers": Numbers, "Sink": Sink})
    monkeypatch.setattr(Numbers, "calls", [])
    return host


def graph_of(**inputs: Any) -> dict[str, Any]:
    given = {"count": 1, "size": 0.5, "kind": "a", **inputs}
    return {
        "1": {"class_type": "Numbers", "inputs": given},
        "2": {"class_type": "Sink", "inputs": {"value": ["1", 0]}},
    }


def test_runs_in_inference_mode_and_converts_values(bench: Host) -> None:
    run = bench.run(graph_of(count="3"))
    assert run.status == "done"
    assert run.ui == {"2": {"value": [1.5]}}
    assert Numbers.calls == [{"count": 3, "size": 0.5, "kind": "a", "inference": True}]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"count": 10}, "bigger than 9"),
        ({"size": -0.1}, "smaller than 0.0"),
        ({"count": "many"}, "is no INT"),
        ({"colour": "red"}, "no such input"),
    ],
)
def test_refuses_values_outside_their_range_or_type(bench: Host, inputs: dict[str, Any], words: str) -> None:
    run = bench.run(graph_of(**inputs))
    assert run.status == "refused"
    assert words in run.complaints["1"][0]
    assert not Numbers.calls


def test_refuses_missing_inputs_and_links_of_another_type(bench: Host) -> None:
    prompt = graph_of()
    del prompt["1"]["inputs"]["size"]
    assert "missing" in bench.run(prompt).complaints["1"][0]
    assert (
        "linked into INT"
        in bench.run(
            {**graph_of(), "3": {"class_type": "Numbers", "inputs": {"count": ["1", 0], "size": 0.5, "kind": "a"}}}
        ).complaints["3"][0]
    )


def test_combo_values_and_nan_pass_as_on_the_real_server(bench: Host) -> None:
    # Two traps that nodes must cope with themselves.
    assert bench.run(graph_of(kind="z", size=float("nan"))).status == "done"


def test_unknown_nodes_workflows_without_output_and_circles_are_errors(bench: Host) -> None:
    with pytest.raises(graph.WorkflowError, match="does not know KSampler"):
        bench.run({"1": {"class_type": "KSampler", "inputs": {}}})
    with pytest.raises(graph.WorkflowError, match="no output node"):
        bench.run({"1": graph_of()["1"]})
    with pytest.raises(graph.WorkflowError, match="circle"):
        bench.run(graph_of(size=["1", 0]))


def test_only_what_changed_runs_again(bench: Host) -> None:
    assert bench.run(graph_of()).executed == ["1", "2"]
    assert bench.run(graph_of()).cached == ["1", "2"]
    assert bench.run(graph_of(size=0.25)).executed == ["1", "2"]
    bench.free()
    assert bench.run(graph_of(size=0.25)).executed == ["1", "2"]


def test_a_changed_fingerprint_runs_again_and_a_raising_one_is_an_error(
    bench: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = iter(["x", "x", "y"])
    monkeypatch.setattr(Numbers, "fingerprint_inputs", lambda **inputs: next(stamps), raising=False)
    assert [bench.run(graph_of()).executed for _ in range(3)] == [["1", "2"], [], ["1", "2"]]
    # Without **kwargs the call fails, because every input is passed.
    monkeypatch.setattr(Numbers, "fingerprint_inputs", lambda count: 0)
    with pytest.raises(TypeError, match="size"):
        bench.run(graph_of())


def test_naming_an_input_in_validate_inputs_switches_its_range_off(
    bench: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Numbers, "validate_inputs", lambda count: seen.append(count) or True, raising=False)
    assert bench.run(graph_of(count=99)).status == "done"
    assert seen == [99]
    monkeypatch.setattr(Numbers, "validate_inputs", lambda count: "too many", raising=False)
    assert bench.run(graph_of()).complaints == {"1": ["count - too many"]}


def test_the_answer_of_validate_inputs_stands_under_every_input_that_it_names(
    bench: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Numbers, "validate_inputs", lambda count, size, words="": "no", raising=False)
    assert bench.run(graph_of()).complaints == {"1": ["count - no", "size - no"]}


def test_words_are_checked_where_the_list_is_the_type(bench: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "define_schema", listed(Numbers.define_schema))
    assert bench.run(graph_of(kind="z")).complaints == {"1": ["kind: 'z' not in ['a', 'b']"]}
    monkeypatch.setattr(Numbers, "validate_inputs", lambda kind: True, raising=False)
    assert bench.run(graph_of(kind="z")).status == "done"


def listed(define: Any) -> Any:
    def define_schema() -> Schema:
        schema = define()
        schema.inputs[2].get_io_type = lambda: ["a", "b"]
        return schema

    return define_schema


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"result": (1.0,)}, "returned dict"),
        (NodeOutput(1.0, 2.0), "2 values for 1 outputs"),
        (NodeOutput(1), "FLOAT output is a int"),
        (lambda cls: setattr(cls, "memory", 1), "must not keep state"),
    ],
    ids=["dict", "too many", "int for float", "state"],
)
def test_wrong_results_are_errors(bench: Host, monkeypatch: pytest.MonkeyPatch, answer: Any, words: str) -> None:
    monkeypatch.setattr(Numbers, "answer", answer)
    run = bench.run(graph_of())
    assert (run.status, run.failed_node) == ("error", "1")
    assert words in str(run.error)


def test_an_interrupt_stops_at_the_next_point_and_the_host_goes_on(
    bench: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(cls: type) -> NodeOutput:
        import comfy.utils

        bar = comfy.utils.ProgressBar(5)
        for i in range(5):
            bar.update_absolute(i)
        return NodeOutput(1.0)

    monkeypatch.setattr(Numbers, "answer", slow)
    seen = []

    def stop_at_two(node: str, done: float, total: float) -> None:
        seen.append((node, done, total))
        if done == 2:
            bench.interrupt()

    run = bench.run(graph_of(), stop_at_two)
    assert (run.status, run.failed_node, seen[-1]) == ("interrupted", "1", ("1", 2, 5))
    assert bench.run(graph_of()).status == "done"


def test_names_that_the_host_lacks_say_so(host: Host, tmp_path: Any) -> None:
    from tools.host.modules import Signals

    with installed(build(tmp_path, Signals())):
        import comfy.utils

        with pytest.raises(AttributeError, match="no comfy.utils.load_torch_file"):
            comfy.utils.load_torch_file  # noqa: B018
        with pytest.raises(ImportError):
            from comfy_api.v0_0_2 import ui  # noqa: F401
    with pytest.raises(TypeError, match="does not know"):
        io.Int.Input("count", advanced=True)
    assert issubclass(InterruptProcessingException, Exception)


@pytest.mark.parametrize(
    ("io_type", "value", "words"),
    [
        ("IMAGE", torch.rand(1, 3, 4, 8), "channels"),
        ("IMAGE", torch.rand(1, 4, 8, 3) + 1, "within"),
        ("IMAGE", torch.rand(1, 4, 8, 3).double(), "float64"),
        ("MASK", torch.rand(4, 8), "3 dimensions"),
        ("AUDIO", {"waveform": torch.zeros(1, 8), "sample_rate": 8}, "waveform"),
        ("AUDIO", {"waveform": torch.zeros(1, 1, 8), "sample_rate": 8.0}, "sample rate"),
        ("STRING", None, "NoneType"),
        ("VIDEO", "clip.mp4", "video"),
        ("CON360_BASD", None, "None"),
    ],
)
def test_output_values_are_checked_against_their_sockets(io_type: str, value: Any, words: str) -> None:
    from tools.host.run import wrong_value

    assert words in wrong_value(io_type, value)


# ---- UI format


def ui_workflow() -> dict[str, Any]:
    return {
        "nodes": [
            {"id": 7, "type": "Numbers", "mode": 0, "inputs": [{"name": "size", "type": "FLOAT", "link": None}],
             "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [3]}],
             "widgets_values": [4, "fixed", 0.5, "b", "hi"]},
            {"id": 9, "type": "Sink", "mode": 0, "inputs": [{"name": "value", "type": "FLOAT", "link": 3}],
             "outputs": [], "widgets_values": [0]},
            {"id": 10, "type": "Note", "widgets_values": ["read me"]},
        ],
        "links": [[3, 7, 0, 9, 0, "FLOAT"]],
    }  # fmt: skip


def test_ui_format_becomes_api_format(bench: Host) -> None:
    # The value after the seed-like widget belongs to the frontend alone.
    assert graph.to_prompt(ui_workflow(), bench.object_info()) == {
        "7": {"class_type": "Numbers", "inputs": {"count": 4, "size": 0.5, "kind": "b", "words": "hi"}},
        "9": {"class_type": "Sink", "inputs": {"value": ["7", 0]}},
    }
    assert bench.run(ui_workflow()).status == "done"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda w: w["nodes"][0]["widgets_values"].pop(), "4 widget values for 5"),
        (lambda w: w["nodes"][1]["inputs"][0].update(name="old"), "no input 'old'"),
        (lambda w: w["links"].clear(), "link table differs"),
        (lambda w: w["links"][0].__setitem__(4, 1), "link table differs"),
        (lambda w: w["nodes"][0].update(mode=4), "bypassed"),
        (lambda w: w["nodes"][0].update(type="Gone"), "does not know"),
    ],
    ids=["widgets", "input", "no link", "slot", "bypass", "type"],
)
def test_ui_workflows_that_do_not_fit_are_errors(bench: Host, break_it: Any, words: str) -> None:
    workflow = json.loads(json.dumps(ui_workflow()))
    break_it(workflow)
    with pytest.raises(graph.WorkflowError, match=words):
        graph.to_prompt(workflow, bench.object_info())


@pytest.mark.parametrize("name", ["Load360Video", "Reframe360Video", "Con360Level360Video"])
def test_the_upload_button_counts_as_the_last_widget(host: Host, name: str) -> None:
    """Its value comes after the optional widgets', as both frontends save it."""
    names = graph.widget_names(host.object_info()[name])
    assert names.index(graph.EXTRA) == len(names) - 1 and names[0] == "video"
