"""Headphones in the browser: the graph that plays a turned field gives what the library gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser.page import browser, missing
from shared_data import ROOT

from con360.media.writer import write_clip
from con360.records import Sound
from con360.sound.ambisonics import encode
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


# Plays the clip with the head turned, on headphones and back as stereo; returns the levels of both ears in decibels.
WEAR = """async ([site, view]) => {
    const { Hearing } = await import(`${site}/hearing.js`);
    const video = Object.assign(document.createElement("video"), { src: `${site}/clip.mp4`, loop: true });
    const hearing = new Hearing(video);
    hearing.ambisonic = true;
    hearing.turn(view);
    await hearing.wear(true);
    await video.play();
    const { context, output } = hearing.ears;
    const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    const meters = [0, 1].map(() => new AnalyserNode(context, { fftSize: 32768 }));
    output.connect(splitter);
    meters.forEach((meter, ear) => splitter.connect(meter, ear));
    await new Promise((done) => setTimeout(done, 1500));
    const levels = meters.map((meter) => {
        const samples = new Float32Array(meter.fftSize);
        meter.getFloatTimeDomainData(samples);
        return 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
    });
    await hearing.wear(false);
    const stereo = Boolean(hearing.gains);
    video.pause();
    hearing.stop();
    return [levels, stereo];
}"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panorama whose noise lies at the right."""
    noise = 0.1 * torch.randn(3 * RATE_HZ, generator=torch.Generator().manual_seed(5))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    sound = Sound(encode(noise, 90.0, 0.0), RATE_HZ, "ambix")
    write_clip(path, torch.full((24, 3, 32, 64), 0.5), 8.0, sound, panorama="mono")
    return path


@pytest.fixture(scope="module")
def page(clip: Path) -> Iterator[Any]:
    """A page that reads `web/` and the clip, and nothing else."""
    if lacking := missing():
        pytest.skip(lacking)
    with browser() as chromium:
        page = chromium.new_page()
        page.route("**/*", lambda route: _answer(route, clip))
        page.goto(f"{SITE}/")
        yield page


def _answer(route: Any, clip: Path) -> None:
    name = route.request.url.removeprefix(f"{SITE}/")
    path = clip if name == clip.name else ROOT / "web" / (name or "none")
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


@pytest.mark.parametrize("yaw", [0.0, 150.0])
def test_a_clip_is_worn_turned_and_taken_off(page: Any, yaw: float) -> None:
    (left, right), stereo = page.evaluate(WEAR, [SITE, {"yaw": yaw, "pitch": 0.0}])
    noise = torch.randn(RATE_HZ, generator=torch.Generator().manual_seed(5))
    wanted = to_ears(Sound(encode(noise, 90.0 - yaw, 0.0), RATE_HZ, "ambix")).waveform
    levels = 10 * wanted.square().mean(1).log10()
    assert right - left == pytest.approx(float(levels[1] - levels[0]), abs=1) and abs(right - left) > 3
    assert stereo
