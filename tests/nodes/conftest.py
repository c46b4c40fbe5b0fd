"""The stand-in for ComfyUI, once per test file, on folders of its own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tools.host import Host, Run


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("comfy"))


@pytest.fixture(scope="module")
def pack(host: Host) -> Any:
    """`pack("nodes.sockets")`: a module of the pack as the host imported it."""

    def module(name: str) -> ModuleType:
        return sys.modules[f"{host.module.__name__}.{name}"]

    return module


@pytest.fixture
def run(host: Host) -> Any:
    """`run(prompt, on_progress)` on a host with an empty cache."""
    host.free()

    def go(prompt: dict[str, Any], on_progress: Any = None) -> Run:
        return host.run(prompt, on_progress)

    return go
