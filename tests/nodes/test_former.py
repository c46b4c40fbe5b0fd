"""Renamed nodes under their former ids: the same nodes, deprecated, and named to cores that can replace nodes."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest

from tests.nodes.test_pack import FORMER
from tests.nodes.test_view_nodes import LOAD, by_hand
from tools.host import Host, graph
from tools.host.modules import installed

pytestmark = pytest.mark.standin


def test_a_former_id_is_the_same_node(host: Host) -> None:
    info, own = host.object_info(), ("name", "description", "deprecated")
    for name in FORMER:
        former, node = info[name], info[f"Con360{name}"]
        assert {k: v for k, v in former.items() if k not in own} == {k: v for k, v in node.items() if k not in own}
        assert former["deprecated"] and not node["deprecated"] and f"Con360{name}" in former["description"]


def test_a_prompt_of_before_runs(run: Any) -> None:
    prompt = by_hand()
    crop = {"frames": ["1", 0], "basd": ["3", 0], "size": 32, "sound": "view"}
    prompt |= {"5": {"class_type": "Con360ViewpointCrop", "inputs": crop}}
    prompt |= {"6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}}}
    today = run(prompt)
    before = {k: {**v, "class_type": v["class_type"].removeprefix("Con360")} for k, v in prompt.items()}
    result = run(before)
    assert {node["class_type"] for node in before.values()} == {LOAD["class_type"], "PreviewImage", *FORMER}
    assert result.status == today.status == "done", (result.error, result.complaints)
    assert result.outputs["5"][0].equal(today.outputs["5"][0])


def test_cores_that_replace_nodes_are_told(host: Host, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, told = pack("nodes.former"), []

    async def register(replacement: dict[str, Any]) -> None:
        told.append(replacement)

    api = types.SimpleNamespace(node_replacement=types.SimpleNamespace(register=register))
    monkeypatch.setattr(module, "api", types.SimpleNamespace(ComfyAPI=lambda: api))
    extension = pack("nodes").Con360Extension()
    asyncio.run(extension.on_load())
    assert told == []  # 0.3.64 has no such interface
    monkeypatch.setattr(module.io, "NodeReplace", lambda **values: values, raising=False)
    with installed(host._modules):
        asyncio.run(extension.on_load())
    assert {one["old_node_id"]: one["new_node_id"] for one in told} == {name: f"Con360{name}" for name in FORMER}
    for one in told:
        entry = host.object_info()[one["old_node_id"]]
        names = [name for _, name, _, _ in graph.inputs_of(entry)]
        assert [(pair["old_id"], pair["new_id"]) for pair in one["input_mapping"]] == [(n, n) for n in names]
        assert one["old_widget_ids"] == graph.widget_names(entry)
        assert [pair["new_idx"] for pair in one["output_mapping"]] == list(range(len(entry["output"])))
