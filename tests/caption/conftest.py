"""Folders of tiny caption models, written once for all caption tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_captioners import write_blip, write_blip2, write_llama


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("captioners")
    return {
        "blip2": write_blip2(root / "blip2"), "blip": write_blip(root / "blip"),
        "llama": write_llama(root / "llama"), "plain": write_llama(root / "plain", chat=False),
    }  # fmt: skip
