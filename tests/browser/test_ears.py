"""Headphones in the browser: the graph that plays a turned field gives what the library gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser.page import browser, missing
from shared_data import ROOT

from con360.records import Sound
from con360.sound.headphones import load_ears, to_ears
from con360.sound.rotation import turn

pytestmark = pytest.mark.slow

RATE_HZ = 48000
SITE = "http://con360.test"
# Plays channels `[C][N]` through the graph for a view; returns both ears.
PLAY = """async ([site, order, channels, view]) => {
    const { EarsGraph, loadEars } = await import(`${site}/ears.js`);
    const length = channels[0].length;
    const context = new OfflineAudioContext(2, length, 48000);
    const buffer = new AudioBuffer({ length, numberOfChannels: channels.length, sampleRate: 48000 });
    channels.forEach((samples, i) => buffer.copyToChannel(new Float32Array(samples), i));
    const source = new AudioBufferSourceNode(context, { buffer });
    const graph = new EarsGraph(context, order, await loadEars());
    graph.turn(view, 0);
    source.connect(graph.input);
    graph.output.connect(context.destination);
    source.start();
    const heard = await context.startRendering();
    return [0, 1].map((ear) => Array.from(heard.getChannelData(ear)));
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page that reads `web/` and nothing else."""
    if lacking := missing():
        pytest.skip(lacking)
    with browser() as chromium:
        page = chromium.new_page()
        page.route("**/*", _answer)
        page.goto(f"{SITE}/")
        yield page


def _answer(route: Any) -> None:
    name = route.request.url.removeprefix(f"{SITE}/")
    path: Path = ROOT / "web" / (name or "none")
    if path.is_file():
        route.fulfill(path=path, content_type="text/javascript" if path.suffix == ".js" else None)
    else:
        route.fulfill(status=404 if name else 200, body="", content_type="text/html")


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (100.0, -35.0)])
def test_the_browsers_headphones_are_the_librarys(page: Any, order: int, yaw: float, pitch: float) -> None:
    generator = torch.Generator().manual_seed(order)
    # Quiet enough that no ear is above full scale.
    field = 0.05 * torch.randn((order + 1) ** 2, 3000, generator=generator)
    heard = torch.tensor(page.evaluate(PLAY, [SITE, order, field.tolist(), {"yaw": yaw, "pitch": pitch}]))
    wanted = to_ears(turn(Sound(field, RATE_HZ, "ambix"), yaw, pitch)).waveform
    late = load_ears(order, RATE_HZ).delay
    assert wanted.abs().max() > 0.1
    assert (heard[:, late:] - wanted[:, : wanted.shape[1] - late]).abs().max() < 1e-4
