"""Workflows as graphs: UI format to API format, and the checks that a server makes before it runs a prompt.

Both work from an `/object_info` dictionary, of this host or of a real server alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from .subgraphs import flatten

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CONVERSIONS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
NOTES = {"Note", "MarkdownNote"}
# Widgets that the frontend adds by itself; their values are saved but never sent.
EXTRA = object()


class WorkflowError(ValueError):
    """A workflow that cannot be read, or that the server would refuse."""


def inputs_of(entry: dict[str, Any]) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Each input of an object_info entry: kind (required, optional), name, type, options."""
    for kind in ("required", "optional"):
        for name in entry["input_order"].get(kind, ()):
            spec = entry["input"][kind][name]
            yield kind, name, spec[0], spec[1] if len(spec) > 1 else {}


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def widget_names(entry: dict[str, Any]) -> list[Any]:
    """Names in the order of `widgets_values`; `EXTRA` for values that belong to the frontend alone."""
    names: list[Any] = []
    uploads = False
    for _, name, io_type, options in inputs_of(entry):
        if (isinstance(io_type, list) or io_type in WIDGET_TYPES) and not options.get("forceInput"):
            names.append(name)
            names += [EXTRA] * bool(options.get("control_after_generate"))
            uploads |= bool(options.get("video_upload"))
    # The upload button stands behind all widgets.
    return names + [EXTRA] * uploads


def _links(workflow: dict[str, Any]) -> dict[int, list[Any]]:
    links = {link[0]: link for link in workflow["links"]}
    for node in workflow["nodes"]:
        for slot, output in enumerate(node.get("outputs") or ()):
            for number in output.get("links") or ():
                if number not in links or links[number][1:3] != [node["id"], slot]:
                    raise WorkflowError(f"node {node['id']}: output {slot} names link {number}, the link table differs")
    return links


def to_prompt(workflow: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """UI format to API format, as the frontend does it.

    Raises:
        WorkflowError: unknown nodes, widgets that do not fit their node's definition, links that do not fit.
    """
    if workflow.get("definitions", {}).get("subgraphs"):
        workflow = flatten(workflow)
    links, prompt = _links(workflow), {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        where = f"node {node['id']} ({node['type']})"
        if node["type"] not in info:
            raise WorkflowError(f"{where}: the stand-in does not know the node")
        if node.get("mode", 0) != 0:
            raise WorkflowError(f"{where}: muted and bypassed nodes are not supported here")
        entry = info[node["type"]]
        values = {**_widget_values(node, entry, where), **node.get("given", {})}
        inputs = {**values, **_linked(node, entry, links, where)}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _widget_values(node: dict[str, Any], entry: dict[str, Any], where: str) -> dict[str, Any]:
    names, values = widget_names(entry), node.get("widgets_values") or []
    if len(values) != len(names):
        raise WorkflowError(f"{where}: {len(values)} widget values for {len(names)} widgets")
    return {name: value for name, value in zip(names, values, strict=True) if name is not EXTRA}


def _linked(node: dict[str, Any], entry: dict[str, Any], links: dict[int, list[Any]], where: str) -> dict[str, Any]:
    types = {name: io_type for _, name, io_type, _ in inputs_of(entry)}
    linked = {}
    for slot, item in enumerate(node.get("inputs") or ()):
        if item["name"] not in types:
            raise WorkflowError(f"{where}: there is no input '{item['name']}'")
        number = item.get("link")
        if number is None:
            continue
        if number not in links or links[number][3:5] != [node["id"], slot]:
            raise WorkflowError(f"{where}: input '{item['name']}' names link {number}, the link table differs")
        linked[item["name"]] = [str(links[number][1]), links[number][2]]
    return linked


# ---- what the server checks


def upstream(prompt: dict[str, Any], node_id: str) -> list[str]:
    """Ids of the nodes linked into a node."""
    return [value[0] for value in prompt[node_id]["inputs"].values() if is_link(value)]


def in_order(prompt: dict[str, Any], outputs: list[str]) -> list[str]:
    """Every node that the outputs need, each after what it needs."""
    done: list[str] = []

    def visit(node_id: str, path: tuple[str, ...]) -> None:
        if node_id in path:
            raise WorkflowError(f"the links make a circle at node {node_id}")
        if node_id not in done:
            for source in upstream(prompt, node_id):
                visit(source, (*path, node_id))
            done.append(node_id)

    for node_id in outputs:
        visit(node_id, ())
    return done


def check(prompt: dict[str, Any], info: dict[str, Any], classes: dict[str, type]) -> dict[str, list[str]]:
    """List complaints by node id; convert values of `prompt` in place, as the server does.

    As on the server 0.3.64, combo values are checked where the type is their list. Neither these nor ranges are checked
    of an input that `validate_inputs` names.
    """
    complaints: dict[str, list[str]] = {}
    for node_id, node in prompt.items():
        if node["class_type"] not in info:
            raise WorkflowError(f"node {node_id}: this host does not know {node['class_type']}")
        entry = info[node["class_type"]]
        own = getattr(classes[node["class_type"]], "validate_inputs", None)
        named = set(inspect.signature(own).parameters) if own else set()
        found = _check_inputs(prompt, info, node["inputs"], entry, named)
        if own:
            # What is linked has no value yet.
            values = {name: _constant(node["inputs"].get(name)) for name in named & set(node["inputs"])}
            verdict = own(**values)
            # As on the server, the answer stands under every input that was named.
            found += [] if verdict is True else [f"{name} - {verdict}" for name in sorted(values)]
        if found:
            complaints[node_id] = found
    return complaints


def _constant(value: Any) -> Any:
    return None if is_link(value) else value


def _check_inputs(
    prompt: dict[str, Any], info: dict[str, Any], inputs: dict[str, Any], entry: dict[str, Any], named: set[str]
) -> list[str]:
    found = []
    known = {name: (kind, io_type, options) for kind, name, io_type, options in inputs_of(entry)}
    found += [f"{name}: there is no such input" for name in inputs if name not in known]
    for name, (kind, io_type, options) in known.items():
        if name not in inputs:
            found += [f"{name}: a required input is missing"] * (kind == "required")
        elif is_link(inputs[name]) and len(inputs[name]) != 2:
            found.append(f"{name}: a link is a node and a number, got {inputs[name]}")
        elif is_link(inputs[name]):
            source, slot = inputs[name]
            given = info[prompt[source]["class_type"]]["output"]
            if slot >= len(given) or not _fits(given[slot], io_type):
                found.append(f"{name}: {given[slot : slot + 1]} is linked into {io_type}")
        else:
            found += _check_value(inputs, name, io_type, options, ranged=name not in named)
    return found


def _fits(given: Any, wanted: Any) -> bool:
    """Tell whether an output may be linked into an input; one of several types names them with commas between."""
    return given == wanted or isinstance(wanted, str) and given in wanted.split(",")


def _check_value(inputs: dict[str, Any], name: str, io_type: Any, options: dict[str, Any], ranged: bool) -> list[str]:
    if isinstance(io_type, list):
        fits = not ranged or inputs[name] in io_type
        return [] if fits else [f"{name}: {inputs[name]!r} not in {io_type}"]
    if io_type in CONVERSIONS:
        try:
            inputs[name] = CONVERSIONS[io_type](inputs[name])
        except (TypeError, ValueError, OverflowError) as error:
            return [f"{name}: {inputs[name]!r} is no {io_type} ({error})"]
    elif io_type != "COMBO":
        return [f"{name}: {io_type} needs a link"]
    value = inputs[name]
    if ranged and "min" in options and value < options["min"]:
        return [f"{name}: {value} is smaller than {options['min']}"]
    if ranged and "max" in options and value > options["max"]:
        return [f"{name}: {value} is bigger than {options['max']}"]
    return []
