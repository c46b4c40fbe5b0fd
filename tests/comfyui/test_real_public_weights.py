"""The templates that need weights in a real ComfyUI server: without them, and with small random ones in their place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui.server import ComfyServer
from public_weights import write_public_weights
from shipped_runs import FOLDER, FULL_SIZE, PUBLIC_WEIGHTS, prepared, read

from tools.host import graph

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]


def prompt(server: ComfyServer, name: str) -> dict[str, Any]:
    return prepared(graph.to_prompt(read(FOLDER / f"{name}.json"), server.object_info()), name)


@pytest.fixture
def weights(server: ComfyServer, tmp_path: Path) -> Iterator[None]:
    write_public_weights(tmp_path)
    moved = [server.base / "models" / path.relative_to(tmp_path) for path in tmp_path.glob("*/*")]
    for path in moved:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / path.relative_to(server.base / "models"), path)
    yield
    for path in moved:  # other tests compare the offered models
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name, nodes", [(FULL_SIZE, "5"), (PUBLIC_WEIGHTS, "245")])
def test_missing_weights_are_named_at_submission(server: ComfyServer, name: str, nodes: str) -> None:
    outcome = server.run(prompt(server, name))
    assert outcome.status == "refused"
    said = {key: found["errors"][0]["details"] for key, found in outcome.refusal["node_errors"].items()}
    assert set(nodes) <= set(said)
    assert all("belongs in models/" in said[key] and "licence: " in said[key] for key in nodes), said


@pytest.mark.parametrize("name", [FULL_SIZE, PUBLIC_WEIGHTS])
def test_runs_with_weights_in_the_published_layout(server: ComfyServer, weights: None, name: str) -> None:
    outcome = server.run(prompt(server, name))
    assert outcome.status == "success", (outcome.refusal, outcome.of("execution_error"))
    (clip,) = outcome.outputs["8"]["images"]
    assert server.file(clip).stat().st_size > 0
    server.free()
