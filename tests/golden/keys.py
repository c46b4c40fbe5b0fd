"""Lists of weight names and shapes, as a digest and counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def key_digest(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """SHA-256 over the sorted names with their shapes; how many names begin alike (counts say where a list differs)."""
    lines = [f"{name} {' '.join(map(str, shapes[name]))}" for name in sorted(shapes)]
    parts = Counter(".".join(name.split(".")[:2]) if name.count(".") > 3 else name.split(".")[0] for name in shapes)
    return {"sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(), "parts": dict(sorted(parts.items()))}
