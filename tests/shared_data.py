"""Find the shared clips and recorded outputs, which the project does not ship."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_root() -> Path:
    """`$CON360_TEST_DATA`, else `../shared` beside the checkout: a folder that holds `data/` and `fixtures/`."""
    return Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared")


def _find(kind: str, name: str) -> Path:
    path = shared_root() / kind / name
    if path.exists():
        return path
    reason = f"needs {kind}/{name}, looked for in $CON360_TEST_DATA and in ../shared"
    if os.environ.get("CON360_REQUIRE_DATA"):
        pytest.fail(f"{reason}; CON360_REQUIRE_DATA is set, so this is an error")
    pytest.skip(reason)


def data_path(name: str) -> Path:
    """Return the path of a real clip, photo or sound; without it, skip the test and name the missing file."""
    return _find("data", name)


def fixture_path(name: str) -> Path:
    """Return the path of a recorded output of the published code; skip like `data_path`."""
    return _find("fixtures", name)
