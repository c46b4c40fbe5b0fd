"""Workflows as descriptions, and as the frontend saves them.

Columns are groups, nodes stand below each other in them, widgets that are not named keep their defaults.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from con360.weights.catalog import KNOWN_PARTS, KnownPart
from con360.weights.places import INDEX, WEIGHT_SUFFIXES
from tools.host import graph
from tools.host.contract import CORE_NAMES
from tools.host.subgraphs import INPUTS, OUTPUTS

GAP, MARGIN, HEAD = 70, 10, 80
# The kind of a subgraph's edge, whose outputs are the subgraph's inputs.
INSIDE = "inputs of the subgraph"
NAMESPACE = uuid.UUID("6a1f2c1e-6d9b-4c35-9d5e-3a0c36f0d360")


@dataclass(frozen=True)
class To:
    """A link from a node's output."""

    node: int
    output: str


class Node:
    """A node of a workflow; `inputs` are widget values and links (`To`)."""

    def __init__(self, number: int, kind: str, height: int, title: str | None = None, /, **inputs: Any) -> None:
        self.number, self.kind, self.height, self.title, self.inputs = number, kind, height, title, inputs


class Note(Node):
    """A MarkdownNote."""

    def __init__(self, number: int, height: int, title: str, text: str) -> None:
        super().__init__(number, "MarkdownNote", height, title)
        self.text = text


@dataclass(frozen=True)
class Edge(To):
    """A link from outside a subgraph; `value` is what its widget holds at first."""

    value: Any = None


def edge(name: str, value: Any = None) -> Edge:
    """The subgraph's input of this name, inside it."""
    return Edge(INPUTS, name, value)


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    nodes: list[Node]


@dataclass(frozen=True)
class Subgraph:
    """Nodes that stand as one node.

    `inputs`: their names outside, sockets before widgets; inside, nodes take them by `edge`.
    `outputs`: by their names outside, what they come from.
    """

    name: str
    description: str
    words: list[str]
    columns: list[Column]
    inputs: list[str]
    outputs: dict[str, To]

    @property
    def id(self) -> str:
        return str(uuid.uuid5(NAMESPACE, f"subgraph {self.name}"))


class Part(Node):
    """A node that stands for a subgraph."""

    def __init__(self, number: int, subgraph: Subgraph, height: int, **inputs: Any) -> None:
        super().__init__(number, subgraph.id, height, subgraph.name, **inputs)
        self.subgraph = subgraph


@dataclass(frozen=True)
class Workflow:
    """`app`: what ComfyUI's app mode shows, inputs as (node, widget) and the nodes whose results it shows."""

    name: str
    columns: list[Column]
    app: tuple[list[tuple[int, str]], list[int]]


# ---- to the frontend's format


def ui_format(workflow: Workflow, info: dict[str, Any]) -> dict[str, Any]:
    subgraphs = {node.kind: node.subgraph for node in _all(workflow.columns) if isinstance(node, Part)}
    definitions = {"subgraphs": [_definition(subgraph, info) for subgraph in subgraphs.values()]}
    info = info | {kind: _entry(subgraph, info) for kind, subgraph in subgraphs.items()}
    links = _links(workflow.columns, info)
    placed, groups = _placed(workflow.columns, links, info)
    inner = [node for one in definitions["subgraphs"] for node in one["nodes"]]
    inputs, outputs = workflow.app
    return {
        "id": str(uuid.uuid5(NAMESPACE, workflow.name)), "revision": 0,
        "last_node_id": max(node["id"] for node in [*placed, *inner]), "last_link_id": len(links),
        "nodes": sorted(placed, key=lambda node: node["id"]), "links": links, "groups": groups,
        **({"definitions": definitions} if subgraphs else {}), "config": {},
        "extra": {
            # Clear of the frontend's bars.
            "ds": {"scale": 0.6, "offset": [150, 260]},
            "linearData": {"inputs": [list(item) for item in inputs], "outputs": outputs},
        },
        "version": 0.4,
    }  # fmt: skip


def _placed(
    columns: list[Column], links: list[list[Any]], info: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes and groups where their columns put them."""
    placed, groups, left = [], [], 0
    for number, column in enumerate(columns, 1):
        top = 0
        for node in column.nodes:
            placed.append(_node(node, [left, top], column.width, links, info))
            top += node.height + GAP
        bounding = [left - MARGIN, -HEAD, column.width + 2 * MARGIN, top - GAP + HEAD + MARGIN]
        groups.append({"id": number, "title": f"{number}  {column.title}", "bounding": bounding, "color": "#3f789e",
                       "font_size": 24, "flags": {}})  # fmt: skip
        left += column.width + GAP
    for place, number in enumerate(_order(columns)):
        next(node for node in placed if node["id"] == number)["order"] = place
    return placed, groups


def _all(columns: list[Column]) -> list[Node]:
    return [node for column in columns for node in column.nodes]


def _given(node: Node) -> dict[str, To]:
    return {name: value for name, value in node.inputs.items() if isinstance(value, To)}


def _order(columns: list[Column]) -> list[int]:
    prompt = {str(node.number): {"inputs": {n: [str(to.node), 0] for n, to in _given(node).items() if to.node > 0}}
              for node in _all(columns)}  # fmt: skip
    return [int(number) for number in graph.in_order(prompt, sorted(prompt, key=int))]


def _sockets(node: Node, info: dict[str, Any]) -> list[tuple[str, str, bool, bool]]:
    """The inputs that are saved: name, type, whether it is optional, whether it is a widget with a link."""
    if isinstance(node, Note):
        return []
    entry = info[node.kind]
    unknown = set(node.inputs) - {name for _, name, _, _ in graph.inputs_of(entry)}
    if unknown:
        raise ValueError(f"{node.kind} has no input {sorted(unknown)}")
    widgets = graph.widget_names(entry)
    # The frontend calls a combo so whatever the server says; some cores give its list of words as the type.
    found = [
        (name, "COMBO" if isinstance(io_type, list) else io_type, kind == "optional", name in widgets)
        for kind, name, io_type, _ in graph.inputs_of(entry)
    ]
    if isinstance(node, Part):
        return found
    return [item for item in found if not item[3]] + [item for item in found if item[3] and item[0] in _given(node)]


def _links(columns: list[Column], info: dict[str, Any]) -> list[list[Any]]:
    kinds, links = {INPUTS: INSIDE, **{node.number: node.kind for node in _all(columns)}}, []
    for node in sorted(_all(columns), key=lambda node: node.number):
        for slot, (name, _, _, _) in enumerate(_sockets(node, info)):
            if name in _given(node):
                to, entry = node.inputs[name], info[kinds[node.inputs[name].node]]
                source = entry["output_name"].index(to.output)
                links.append([len(links) + 1, to.node, source, node.number, slot, entry["output"][source]])
    return links


def _node(node: Node, place: list[int], width: int, links: list[list[Any]], info: dict[str, Any]) -> dict[str, Any]:
    saved: dict[str, Any] = {
        "id": node.number, "type": node.kind, "pos": place, "size": [width, node.height], "flags": {}, "order": 0,
        "mode": 0, "inputs": [], "outputs": [], "properties": {},
    }  # fmt: skip
    if node.title:
        saved["title"] = node.title
    if isinstance(node, Note):
        return {**saved, "widgets_values": [node.text], "color": "#432", "bgcolor": "#653"}
    for slot, (name, io_type, optional, is_widget) in enumerate(_sockets(node, info)):
        link = next((link[0] for link in links if link[3:5] == [node.number, slot]), None)
        saved["inputs"].append({"name": name, "type": io_type, "link": link, **({"shape": 7} if optional else {}),
                                **({"widget": {"name": name}} if is_widget else {})})  # fmt: skip
    entry = info[node.kind]
    for slot, (name, io_type) in enumerate(zip(entry["output_name"], entry["output"], strict=True)):
        leaving = [link[0] for link in links if link[1:3] == [node.number, slot]]
        saved["outputs"].append({"name": name, "type": io_type, "links": leaving or None})
    if isinstance(node, Part):
        return {**saved, "widgets_values": _values(node, entry)}
    pack = {"cnr_id": "comfy-core", "ver": "0.3.64"} if node.kind in CORE_NAMES else {
        "cnr_id": "con360-av", "ver": "0.1.0"}  # fmt: skip
    saved["properties"] = {**pack, "Node name for S&R": node.kind}
    saved["widgets_values"] = _values(node, entry)
    models = _weights(saved["widgets_values"])
    if models:
        saved["properties"]["models"] = models
    return saved


def _weights(values: list[Any]) -> list[dict[str, str]]:
    """List the published weights that widget values name, in the frontend's form for its dialog of missing models.

    The dialog looks at files alone: it takes up an entry whose name is a widget's value and ends as weights do.
    """
    return [entry for part in KNOWN_PARTS if part.places and part.name in values for entry in _files(part)]


def _files(part: KnownPart) -> list[dict[str, str]]:
    page, place = part.weights.address.split()[0], part.places[0]
    if PurePath(part.name).suffix in WEIGHT_SUFFIXES:
        return [{"name": part.name, "url": page, "directory": place}]
    # Under the folder's own name older frontends would call it missing where it is there: they list files alone.
    inside = {PurePath(url).name: url for url in part.weights.files} or {INDEX: page}
    return [{"name": name, "url": url, "directory": f"{place}/{part.name}"} for name, url in inside.items()]


def _values(node: Node, entry: dict[str, Any]) -> list[Any]:
    options = {name: spec for _, name, _, spec in graph.inputs_of(entry)}
    types = {name: io_type for _, name, io_type, _ in graph.inputs_of(entry)}
    values, previous = [], None
    for name in graph.widget_names(entry):
        if name is graph.EXTRA:
            # The frontend adds two widgets: the seed's control after a run, and the upload button.
            values.append("fixed" if previous == "seed" else "image")
            continue
        previous = name
        value = node.inputs.get(name)
        if isinstance(value, Edge):
            value = value.value
        if value is None or isinstance(value, To):
            value = options[name]["default"] if "default" in options[name] else (options[name]["options"] or [""])[0]
        values.append(float(value) if types[name] == "FLOAT" else value)
    return values


# ---- subgraphs


def blueprint(subgraph: Subgraph, info: dict[str, Any]) -> dict[str, Any]:
    """A subgraph as the frontend offers it: a graph of the one node that stands for it."""
    part = Part(1, subgraph, 300)
    host = _node(part, [0, 0], 320, [], info | {part.kind: _entry(subgraph, info)})
    return {
        "id": str(uuid.uuid5(NAMESPACE, f"blueprint {subgraph.name}")), "revision": 0, "last_node_id": 1,
        "last_link_id": 0, "nodes": [host], "links": [], "groups": [],
        "definitions": {"subgraphs": [_definition(subgraph, info)]}, "config": {},
        "extra": {"BlueprintDescription": subgraph.description, "BlueprintSearchAliases": subgraph.words},
        "version": 0.4,
    }  # fmt: skip


def _entry(subgraph: Subgraph, info: dict[str, Any]) -> dict[str, Any]:
    """The subgraph's node in the form of `/object_info`, as far as a saved workflow needs it."""
    kinds = {node.number: node.kind for node in _all(subgraph.columns)}
    sources = [(info[kinds[to.node]], to.output) for to in subgraph.outputs.values()]
    return {
        "input": {"required": {name: _taken(subgraph, name, info) for name in subgraph.inputs}},
        "input_order": {"required": subgraph.inputs}, "output_name": list(subgraph.outputs),
        "output": [entry["output"][entry["output_name"].index(output)] for entry, output in sources],
    }  # fmt: skip


def _taken(subgraph: Subgraph, name: str, info: dict[str, Any]) -> list[Any]:
    """Type and options of a subgraph's input: those of the first inner input that it feeds."""
    node, inner, to = next(
        (node, inner, to) for node in _all(subgraph.columns) for inner, to in _given(node).items()
        if to.node == INPUTS and to.output == name
    )  # fmt: skip
    io_type, options = next((kind, o) for _, n, kind, o in graph.inputs_of(info[node.kind]) if n == inner)
    if isinstance(io_type, list):
        # As in `_sockets`; the frontend refuses to open a workflow with a list for the type of a link.
        io_type, options = "COMBO", {**options, "options": io_type}
    kept = {key: value for key, value in options.items() if key in ("default", "options", "forceInput")}
    first = to.value if isinstance(to, Edge) else None
    return [io_type, kept if first is None else {**kept, "default": first}]


def _definition(subgraph: Subgraph, info: dict[str, Any]) -> dict[str, Any]:
    """The subgraph itself, as the frontend saves it."""
    entry = _entry(subgraph, info)
    types = [spec[0] for spec in entry["input"]["required"].values()]
    info = info | {INSIDE: {"output_name": subgraph.inputs, "output": types}}
    links = _links(subgraph.columns, info)
    numbers = {node.number: info[node.kind]["output_name"] for node in _all(subgraph.columns)}
    for slot, (to, io_type) in enumerate(zip(subgraph.outputs.values(), entry["output"], strict=True)):
        links.append([len(links) + 1, to.node, numbers[to.node].index(to.output), OUTPUTS, slot, io_type])
    nodes, groups = _placed(subgraph.columns, links, info)
    right = sum(column.width + GAP for column in subgraph.columns)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {
        "id": subgraph.id, "version": 1,
        "state": {"lastGroupId": len(groups), "lastNodeId": max(numbers), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0, "config": {}, "name": subgraph.name,
        "inputNode": {"id": INPUTS, "bounding": [-260, 0, 160, 40 + 20 * len(types)]},
        "outputNode": {"id": OUTPUTS, "bounding": [right + 60, 0, 160, 40 + 20 * len(subgraph.outputs)]},
        "inputs": _slots(subgraph, subgraph.inputs, types, [link[:3] for link in links if link[1] == INPUTS], -120),
        "outputs": _slots(subgraph, list(subgraph.outputs), entry["output"],
                          [[link[0], *link[3:5]] for link in links if link[3] == OUTPUTS], right + 80),
        "widgets": [], "nodes": sorted(nodes, key=lambda node: node["id"]), "groups": groups,
        "links": [dict(zip(keys, link, strict=True)) for link in links], "extra": {},
        "category": "Con360-AV", "description": subgraph.description,
    }  # fmt: skip


def _slots(subgraph: Subgraph, names: list[str], types: list[str], ends: list[list[Any]], left: int) -> list[Any]:
    """Slots of a subgraph's edge; `ends` are links as (number, edge, slot)."""
    return [
        {"id": str(uuid.uuid5(NAMESPACE, f"{subgraph.name} {left < 0} {name}")), "name": name, "type": io_type,
         "linkIds": [number for number, _, slot in ends if slot == place], "pos": [left, 20 + 20 * place]}
        for place, (name, io_type) in enumerate(zip(names, types, strict=True))
    ]  # fmt: skip
