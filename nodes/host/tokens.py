"""Fill in file names as the frontend does: `%date:...%` and `%Node.widget%`.

The frontend does so for a fixed list of core's own save nodes; other nodes get the tokens as typed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

_DATE, _DATE_FIELD = re.compile(r"%date:([^%]*)%"), re.compile(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?")
_TOKEN = re.compile(r"%([^%]+)%")
# Characters that file names cannot hold on some system.
_UNFIT = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def dated(name: str, when: datetime) -> str:
    """Fill in `%date:yyyy-MM-dd hh-mm-ss%` and the like."""
    values = {"y": when.year, "M": when.month, "d": when.day, "h": when.hour, "m": when.minute, "s": when.second}

    def number(field: re.Match[str]) -> str:
        letters = field[0]
        value = f"{values[letters[0]]:0{min(len(letters), 4)}}"
        return value[-2:] if letters == "yy" else value

    return _DATE.sub(lambda token: _DATE_FIELD.sub(number, token[1]), name)


def with_values(
    name: str, prompt: Mapping[str, Any] | None, workflow: Mapping[str, Any] | None
) -> tuple[str, tuple[str, ...]]:
    """Fill in `%Node.widget%` with the widget's value; say which tokens name none and stay as they are.

    A node is named by its property "Node name for S&R", which is its type unless the user changed it, else by its
    title; the first of several counts.

    Args:
        prompt: nodes by number, as they were sent. workflow: as the frontend saved it; None where a script sent the
            prompt.
    """
    unknown: list[str] = []
    nodes = list(_named(prompt or {}, workflow or {}))

    def value(token: re.Match[str]) -> str:
        node, dot, widget = token[1].partition(".")
        if not dot or "." in widget or node.startswith("date:"):
            return token[0]  # not of this kind
        by_name = [inputs for called, _, inputs in nodes if called == node]
        by_title = [inputs for _, title, inputs in nodes if title == node]
        found = next(iter(by_name or by_title), {}).get(widget)
        if found is None or isinstance(found, list):  # a list is a link, whose value is not known here
            unknown.append(token[0])
            return token[0]
        return _UNFIT.sub("_", _text(found))

    filled = _TOKEN.sub(value, name)
    return filled, tuple(f"{token} in the file name is no node and widget with a value; it stays" for token in unknown)


def _text(value: Any) -> str:
    """A value as the frontend writes it: 8 for 8.0, true for True."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _named(prompt: Mapping[str, Any], workflow: Mapping[str, Any]) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Name for replacement, title and inputs of each node that was sent."""
    drawn = {str(node.get("id")): node for node in workflow.get("nodes") or ()}
    for number, node in prompt.items():
        seen = drawn.get(number, {})
        called = (seen.get("properties") or {}).get("Node name for S&R") or node["class_type"]
        yield called, seen.get("title") or (node.get("_meta") or {}).get("title"), node["inputs"]
