"""Subgraphs of a workflow in UI format, put in the place of the nodes that stand for them.

The frontend does so before it sends a prompt: a node of a subgraph gets the number `HOST:NODE`.
"""

from __future__ import annotations

from typing import Any

# The frontend's numbers of a subgraph's edge: links come from one and go to the other.
INPUTS, OUTPUTS = -10, -20

Link = list[Any]


def flatten(workflow: dict[str, Any]) -> dict[str, Any]:
    """The same workflow without subgraphs; `given` on a node holds values that its subgraph's widgets set."""
    definitions = {one["id"]: one for one in workflow.get("definitions", {}).get("subgraphs", ())}
    hosts = {node["id"]: node for node in workflow["nodes"] if node["type"] in definitions}
    links = {link[0]: list(link) for link in workflow["links"]}
    nodes = [node for node in workflow["nodes"] if node["id"] not in hosts]
    for number, host in hosts.items():
        inner, joined = _opened(host, definitions[host["type"]], links)
        nodes += inner
        links = {key: link for key, link in links.items() if link[3] != number} | joined
    return {**workflow, "nodes": [_with_outputs(node, links) for node in nodes], "links": list(links.values())}


def _opened(host: dict[str, Any], inside: dict[str, Any], outer: dict[int, Link]) -> tuple[list[Any], dict[Any, Link]]:
    """A subgraph's nodes under their new numbers, and its links, joined to those outside."""
    prefix, links = f"{host['id']}:", {}
    given: dict[int, dict[int, Any]] = {}
    values = iter(host.get("widgets_values") or ())
    values_of = {slot: next(values) for slot, item in enumerate(host["inputs"]) if "widget" in item}
    for link in inside["links"]:
        target, slot = link["target_id"], link["target_slot"]
        source = [f"{prefix}{link['origin_id']}", link["origin_slot"]]
        if link["origin_id"] == INPUTS:
            coming = outer.get(host["inputs"][link["origin_slot"]]["link"])
            if coming is None and link["origin_slot"] in values_of:
                given.setdefault(target, {})[slot] = values_of[link["origin_slot"]]
            source = coming[1:3] if coming else []
        if target == OUTPUTS:
            for leaving in outer.values():
                if leaving[1:3] == [host["id"], slot]:
                    leaving[1:3] = source
        elif source:
            links[f"{prefix}{link['id']}"] = [f"{prefix}{link['id']}", *source, f"{prefix}{target}", slot, link["type"]]
    return [_renumbered(node, prefix, links, given.get(node["id"], {})) for node in inside["nodes"]], links


def _renumbered(
    node: dict[str, Any], prefix: str, links: dict[Any, Link], given: dict[int, Any]
) -> dict[str, Any]:  # fmt: skip
    named = {node["inputs"][slot]["name"]: value for slot, value in given.items()}
    inputs = []
    for item in node["inputs"]:
        link = f"{prefix}{item['link']}"
        inputs.append({**item, "link": link if link in links else None})
    return {**node, "id": f"{prefix}{node['id']}", "inputs": inputs, "given": named}


def _with_outputs(node: dict[str, Any], links: dict[Any, Link]) -> dict[str, Any]:
    """The node with the links that leave it now."""
    outputs = [
        {**output, "links": [key for key, link in links.items() if link[1:3] == [node["id"], slot]] or None}
        for slot, output in enumerate(node.get("outputs") or ())
    ]
    return {**node, "outputs": outputs}
