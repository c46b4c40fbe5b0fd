"""Write onset tracks and envelopes as text, and read them: JSON, SyncFusion's tables, Audacity's labels."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import torch

from ..errors import InputError
from ..records import Envelope, OnsetTrack
from .envelopes import check_envelope
from .onsets import check_onsets

TextKind = Literal["json", "table", "labels"]
# Beyond, something else was pasted.
MAX_ONSETS, MAX_VALUES = 100_000, 10_000_000

_EXAMPLE = '[{"time": 0.5, "strength": 1, "label": "hit"}]'
_Row = tuple[float, float, str]


def onsets_from_text(text: str, kind: TextKind = "json") -> OnsetTrack:
    """Read onsets in any order.

    Args:
        kind: `json` is a list of objects with `time` and, where wanted, `strength` and `label`; `table` is SyncFusion's
            NAME.times.csv, lines of `time,label` without a header; `labels` are Audacity's, of start, end and text with
            tabs between, of which the end is not used.

    Raises:
        InputError: text of another kind, or times and strengths that cannot be used.
    """
    if kind == "json":
        rows = _json_rows(text)
    else:
        lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
        # A label's frequencies stand on a line of their own, behind a backslash.
        rows = [_line_row(line, i, kind) for i, line in lines if line and not line.startswith("\\")]
    if len(rows) > MAX_ONSETS:
        raise InputError(f"{len(rows)} onsets came; wanted at most {MAX_ONSETS}.")
    rows.sort(key=lambda row: row[0])
    times, strengths, labels = (tuple(column) for column in zip(*rows, strict=True)) if rows else ((), (), ())
    return check_onsets(OnsetTrack(times, strengths, labels if any(labels) else (), source="file"))


def onsets_to_text(track: OnsetTrack, kind: TextKind = "json") -> str:
    """Write the text that `onsets_from_text` reads; `table` and `labels` hold no strengths.

    Raises:
        InputError: a track that cannot be used.
    """
    check_onsets(track)
    labels = track.labels or ("",) * len(track.times_s)
    if kind == "json":
        strengths = track.strengths or (1.0,) * len(track.times_s)
        rows = zip(track.times_s, strengths, labels, strict=True)
        return json.dumps([dict(zip(("time", "strength", "label"), row, strict=True)) for row in rows])
    line = "{0:.6f},{1}\n" if kind == "table" else "{0:.6f}\t{0:.6f}\t{1}\n"
    # A label stands on one line, without a tab.
    tidy = [" ".join(label.split()) for label in labels]
    return "".join(line.format(time, label) for time, label in zip(track.times_s, tidy, strict=True))


def envelope_from_text(text: str) -> Envelope:
    """Read an envelope from JSON: `{"rate": 125, "values": [0, 0.2, ...], "present": [1, 1, ...]}`.

    Raises:
        InputError: other text, or values that cannot be used.
    """
    found = _json(text, "an envelope")
    try:
        values, present = (_numbers(found.get(name)) for name in ("values", "present"))
        rate = float(found.get("rate", 125.0))
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InputError('an envelope is JSON like {"rate": 125, "values": [0, 0.2]}; other JSON came.') from None
    if values is None or len(values) > MAX_VALUES:
        raise InputError(f"an envelope needs a list of at most {MAX_VALUES} values.")
    return check_envelope(Envelope(values, rate, present))


def envelope_to_text(envelope: Envelope) -> str:
    """Write the text that `envelope_from_text` reads."""
    check_envelope(envelope)
    found: dict[str, Any] = {"rate": envelope.rate_hz, "values": envelope.values.tolist()}
    if envelope.present is not None:
        found["present"] = envelope.present.tolist()
    return json.dumps(found)


def _numbers(values: Any) -> torch.Tensor | None:
    return None if values is None else torch.tensor([float(value) for value in values], dtype=torch.float32)


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} came that is no JSON ({error}).") from None


def _json_rows(text: str) -> list[_Row]:
    found = _json(text, "a list of onsets") if text.strip() else []
    try:
        return [(_finite(row["time"]), _finite(row.get("strength", 1.0)), str(row.get("label", ""))) for row in found]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"onsets are JSON like {_EXAMPLE}; other JSON came.") from None


def _line_row(line: str, number: int, kind: TextKind) -> _Row:
    fields = line.split(",", 1) if kind == "table" else line.split("\t", 2)
    wanted = "time,label" if kind == "table" else "start, end and text with tabs between"
    try:
        return _finite(fields[0]), 1.0, fields[-1].strip() if len(fields) == (2 if kind == "table" else 3) else ""
    except ValueError:
        raise InputError(f"line {number} of the onsets is {line[:40]!r}; wanted {wanted}.") from None


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
