"""Recorded form of a real server's `/object_info`, for our nodes and the core nodes we use.

Of core nodes only the interface is kept (sockets, ranges, options, defaults), not their texts; of ours everything but
the name of the folder that the pack lies in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .core_nodes import CORE_NODES

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "contract"
CORE_NAMES = tuple(cls.__name__ for cls in CORE_NODES)
CORE_KEYS = ("input", "input_order", "output", "output_is_list", "output_name", "output_node", "category")


def recorded() -> Path:
    """The newest recorded contract."""
    found = FOLDER.glob("object_info_*.json")
    return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])


def _without_texts(value: Any) -> Any:
    """A core node's interface: no tooltips, and an input without options always as `[type, {}]`."""
    if isinstance(value, dict):
        return {key: _without_texts(item) for key, item in value.items() if key != "tooltip"}
    return value


def _inputs(entry: dict[str, Any]) -> dict[str, Any]:
    shaped = {}
    for kind, items in entry["input"].items():
        pairs = {name: [spec] if isinstance(spec, str) else list(spec) for name, spec in items.items()}
        if kind != "hidden":
            pairs = {name: [*spec, {}][:2] for name, spec in pairs.items()}
            pairs = {name: [io_type, _without_texts(options)] for name, (io_type, options) in pairs.items()}
        shaped[kind] = pairs
    return shaped


def normalise(object_info: dict[str, Any], pack_nodes: list[str]) -> dict[str, Any]:
    """The recorded form of an `/object_info` answer."""
    contract = {}
    for name in sorted({*pack_nodes, *CORE_NAMES}):
        entry = json.loads(json.dumps(object_info[name]))
        if name in CORE_NAMES:
            contract[name] = {key: entry[key] for key in CORE_KEYS} | {"input": _inputs(entry)}
        else:
            contract[name] = entry | {"python_module": "pack"}
    return contract
