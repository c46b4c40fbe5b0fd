"""`con360 models`: list which weights are found or missing, and where they belong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .requests import ModelsRequest

if TYPE_CHECKING:
    from ..weights.catalog import KnownPart
    from ..weights.find import FoundPart


def run_models(options: ModelsRequest, started: float) -> None:
    """Run the command."""
    from ..weights.catalog import KNOWN_PARTS
    from ..weights.find import find, model_roots

    del started
    roots = model_roots(options.folder)
    listed = [(part, find(part, roots)) for part in KNOWN_PARTS]
    if options.json:
        print(
            json.dumps({"looked_in": [str(root) for root in roots], "parts": [as_dict(*one, roots) for one in listed]})
        )
        return
    for part, found in listed:
        print(describe(part, found, roots), end="\n\n")
    print("looked in: " + "\n           ".join(map(str, roots)))
    print("(set CON360_MODELS or use --folder for another; it is laid out like ComfyUI's models folder)")


def as_dict(part: KnownPart, found: Sequence[FoundPart], roots: Sequence[Path]) -> dict[str, Any]:
    """One part for programs."""
    weights = part.weights
    return {
        "part": part.key, "title": weights.title, "use": part.use, "status": status(found),
        "found": [{"path": str(f.path), "bytes": f.num_bytes, "problem": f.problem} for f in found],
        "looked_for_in": [str(root / place) for root in roots for place in part.places],
        "belongs": [str(root / part.places[0] / part.name) for root in roots] if part.places else [],
        "size": weights.size, "licence": weights.licence, "address": weights.address,
        "note": weights.note,
    }  # fmt: skip


def status(found: Sequence[FoundPart]) -> str:
    """`found` where one can be used, `unusable` where none of those found can, else `missing`."""
    if any(one.problem is None for one in found):
        return "found"
    return "unusable" if found else "missing"


def describe(part: KnownPart, found: Sequence[FoundPart], roots: Sequence[Path]) -> str:
    """One part for people."""
    weights = part.weights
    lines = [f"{status(found):<9} {part.key}: {weights.title} - {part.use}"]
    lines += [f"  here     {one.path} ({one.num_bytes / 1e6:,.1f} MB)" for one in found if one.problem is None]
    lines += [f"  unusable {one.path}: {one.problem}" for one in found if one.problem is not None]
    if status(found) != "found" and part.places:
        lines.append(f"  belongs  {roots[0] / part.places[0] / part.name}")
        lines += [f"  also in  {', '.join(f'{place}/' for place in part.places[1:])}"] if part.places[1:] else []
    lines += [f"  note     {weights.note}"] if weights.note else []
    lines.append(f"  size     {weights.size}")
    lines.append(f"  licence  {weights.licence}")
    lines.append(f"  address  {weights.address}")
    return "\n".join(lines)
