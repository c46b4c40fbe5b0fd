"""Read what holds at points in time from JSON: `[{"time": 0, "yaw": -30, ...}, ...]`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError

# Largest number; beyond, something else was pasted.
MAX_NUMBER = 1e9


def moments_from_json(
    text: str, what: str, needed: Sequence[str], optional: Sequence[str] = (), *,
    words: Mapping[str, Sequence[str]] | None = None, most: int, example: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """Read a list of moments, sorted by time.

    Args:
        what: name of one moment in errors. needed, optional: fields beside "time", all of them numbers.
        words: optional fields that hold one of these words each.
        most: longest list. example: of a list that would do, for errors.

    Returns:
        The moments with their fields; none for an empty text or list.

    Raises:
        InputError: no JSON list of such objects, a time below 0, or two moments at one time.
    """
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the {what}s are no JSON ({error}); wanted a list like {example}.") from None
    if not isinstance(found, list) or len(found) > most:
        raise InputError(f"the {what}s are no list of at most {most}; wanted one like {example}.")
    fields = ("time", *needed)
    moments = [_moment(item, f"{what} {i}", fields, optional, words or {}) for i, item in enumerate(found, 1)]
    moments.sort(key=lambda moment: moment["time"])
    for before, after in zip(moments, moments[1:], strict=False):
        if before["time"] == after["time"]:
            raise InputError(f"two {what}s stand at {after['time']:g} s; keep one of them.")
    return moments


def _moment(
    item: object, name: str, needed: Sequence[str], numbers: Sequence[str], words: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    optional = (*numbers, *words)
    if not isinstance(item, dict) or not set(needed) <= set(item) <= {*needed, *optional}:
        others = f"only these besides: {', '.join(optional)}" if optional else "no others"
        raise InputError(f"{name} is {_short(item)}; wanted the fields {', '.join(needed)}, and {others}.")
    for field in words.keys() & item.keys():
        if item[field] not in words[field]:
            wanted = ", ".join(words[field])
            raise InputError(f"{name}: its {field} is {_short(item[field])}; wanted one of {wanted}.")
    for field in item.keys() - words.keys():
        value = item[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_NUMBER:
            raise InputError(f"{name}: its {field} is {_short(value)}; wanted a number.")
    if item["time"] < 0:
        raise InputError(f"{name} stands at {item['time']:g} s; times begin at 0, the clip's start.")
    return {field: value if field in words else float(value) for field, value in item.items()}


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
