"""Start one real server for all tests here, or skip them with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from comfyui.server import ComfyServer, describe_installation, find_comfyui
from tiny_workflow import write_model_files

STEERING_PACK = Path(__file__).resolve().parent / "steering_pack"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    comfyui = find_comfyui()
    if comfyui is None:
        pytest.skip(describe_installation())
    base = tmp_path_factory.mktemp("comfyui")
    write_model_files(base / "models")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "steering_pack").symlink_to(STEERING_PACK, target_is_directory=True)
    with ComfyServer(base, comfyui) as running:
        yield running
