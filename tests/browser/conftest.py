"""Open one page for each frontend: the oldest and the newest way to draw nodes.

Frontend 1.27, which ComfyUI 0.3.64 brings, has an early Nodes 2.0 that draws no widgets of packs: it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from browser.hands import ENDS
from browser.page import SIZE, ComfyPage, browser, current_frontend, missing
from comfyui.server import ComfyServer, describe_installation, find_comfyui


# Playwright's event loop runs as long as its browser: close it with the module, since other tests start their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    lacking = missing() or (None if find_comfyui() else describe_installation())
    if lacking:
        pytest.skip(lacking)
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def running_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ComfyServer]]:
    """One server for each frontend, started when its first page opens."""
    with ExitStack() as running:

        @cache
        def server_of(which: str) -> ComfyServer:
            options = ["--front-end-root", str(current_frontend())] if which == "current" else []
            return running.enter_context(ComfyServer(tmp_path_factory.mktemp(which), find_comfyui(), options=options))

        yield server_of


@pytest.fixture(scope="module")
def servers(chromium: Any, running_servers: Callable[[str], ComfyServer]) -> Callable[[str], ComfyServer]:
    """The same servers, as a module finds them when they are new: without history, and with nothing kept."""

    @cache
    def server_of(which: str) -> ComfyServer:
        running_servers(which).forget()
        return running_servers(which)

    return server_of


@pytest.fixture(scope="module", params=ENDS)
def comfy(request: Any, chromium: Any, servers: Callable[[str], ComfyServer]) -> Iterator[ComfyPage]:
    """An open page, in the dark theme."""
    which, drawing = request.param.split("-")
    context = chromium.new_context(viewport=SIZE)
    context.set_default_timeout(300_000)
    page = ComfyPage(context.new_page(), servers(which), request.param)
    yield page.open(**{"Comfy.ColorPalette": "dark", "Comfy.VueNodes.Enabled": drawing == "nodes2"})
    context.close()
