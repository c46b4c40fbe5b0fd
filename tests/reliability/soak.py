"""Check that memory stays flat over many generations in one process."""

from __future__ import annotations

from collections.abc import Iterator

from .apart import apart, resident_mb
from .figures import Effort, Figure, timed

WARM_UP = 4
GROWTH = 0.05


def figures(effort: Effort) -> Iterator[Figure]:
    with timed("many generations in one process: memory flat") as figure:
        end = apart(generations, effort.generations, timeout_s=7200)
        figure.expect(not end.trouble, end.trouble)
        sizes = end.value or [1.0]
        growth = max(sizes) / sizes[0] - 1
        figure.expect(growth < GROWTH, f"memory grew by {100 * growth:.1f} %: {sizes[0]:.0f} to {max(sizes):.0f} MB")
        figure.tried = f"{effort.generations} generations of 0.5 s at 2 steps"
        figure.outcome = f"{sizes[0]:.0f} MB, at most {100 * growth:+.1f} %"
    yield figure


def generations(count: int) -> list[float]:
    """Return the MB in use after each tenth of the generations, the first after a warm-up."""
    from tiny_model import make_tiny_joint_model

    from .determinism import conditions, make

    model, given = make_tiny_joint_model(0), conditions()
    sizes = []
    for number in range(WARM_UP + count):
        make(model, given, number)
        if number >= WARM_UP - 1 and (number - WARM_UP + 1) % max(1, count // 10) == 0:
            sizes.append(resident_mb())
    return sizes
