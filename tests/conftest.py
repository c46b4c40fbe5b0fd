"""Make the project and its test helpers importable for all tests, and keep them out of the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
for folder in (TESTS, TESTS.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# The closing line that says which ComfyUI, real or stand-in, ran the nodes.
from tools.host.report import pytest_deselected, pytest_runtest_logreport, pytest_terminal_summary  # noqa: E402, F401


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["CON360_CACHE"] = str(tmp_path_factory.mktemp("cache"))
