"""A page to send, opened as a file in a real browser without a network: look around, hear it turn, step into views."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser.page import SIZE, browser, missing
from PIL import Image
from synthetic_clips import noise, write_video

from con360.placing.page import PageView, write_page
from con360.sound.ambisonics import encode

pytestmark = pytest.mark.slow

RATE = 48000
# Colours at yaw 0, 90, 180 and -90.
COLOURS = {0: (200, 30, 30), 90: (30, 200, 30), 180: (30, 30, 200), -90: (200, 200, 30)}
WORDS = '<b id="evil">the "drummer"</b></script>'
# Measures both ears behind whatever plays.
EARS = """() => {
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (to, ...rest) {
      if (to instanceof AudioDestinationNode) {
        const split = new ChannelSplitterNode(this.context, { numberOfOutputs: 2 });
        window.ears = [0, 1].map((ear) => {
          const meter = new AnalyserNode(this.context, { fftSize: 8192 });
          connect.call(split, meter, ear);
          return meter;
        });
        connect.call(this, split);
      }
      return connect.call(this, to, ...rest);
    };
}"""
LEVELS = """() => window.ears.map((meter) => {
    const samples = new Float32Array(meter.fftSize);
    meter.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
})"""


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four coloured quarters, noise at the left, and one view at the right."""
    folder = tmp_path_factory.mktemp("tour")
    picture = np.zeros((128, 256, 3), np.uint8)
    for column in range(256):
        yaw = (column + 0.5) / 256 * 360 - 180
        picture[:, column] = COLOURS[int((round(yaw / 90) * 90 + 180) % 360 - 180) if abs(yaw) < 135 else 180]
    sound = encode(torch.from_numpy(noise(1, 20 * RATE))[0] * 0.3, -90.0, 0.0).numpy()
    times = [i / 5 for i in range(100)]
    clip = write_video(folder / "clip.mp4", times, pictures=[picture] * 100, size=(256, 128), sound=sound,
                       rate_hz=RATE, layout="4.0")  # fmt: skip
    white = np.full((64, 64, 3), 250, np.uint8)
    view = write_video(folder / "view.mp4", times[:20], pictures=[white] * 20, size=(64, 64), sound=noise(1, 4 * RATE))
    return write_page(clip, folder / "tour.html", [PageView(view, WORDS, 90.0, 0.0, 1.0)]).path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if lacking := missing():
        pytest.skip(lacking)
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any, tour: Path) -> Iterator[Any]:
    """The open page; whatever it asks for beside itself, or complains about, fails the test."""
    heard: list[str] = []
    context = chromium.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    page.add_init_script(f"({EARS})()")
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    page.goto(tour.as_uri())
    page.locator("#hint").filter(has_text="Press Play").wait_for()
    yield page
    context.close()
    assert [one for one in heard if one != tour.as_uri() and not one.startswith("blob:")] == []


def middle(page: Any) -> np.ndarray:
    """Colour in the middle of the stage, as people see it."""
    box = page.locator("#stage").bounding_box()
    part = {"x": box["x"] + box["width"] / 2 - 60, "y": box["y"] + box["height"] / 2 - 60, "width": 20, "height": 20}
    shot = Image.open(io.BytesIO(page.screenshot(clip=part))).convert("RGB")
    return np.asarray(shot).mean((0, 1))


def near(page: Any, colour: tuple[int, int, int]) -> bool:
    """Is the colour seen soon? A frame that was sought is drawn some time after its time is set."""
    for _ in range(50):
        if np.abs(middle(page) - colour).max() < 40:
            return True
        page.wait_for_timeout(200)
    return False


def levels(page: Any) -> list[float]:
    page.wait_for_timeout(700)
    return page.evaluate(LEVELS)


def test_people_look_around_by_mouse_and_keys(page: Any) -> None:
    assert near(page, COLOURS[0])
    box = page.locator("#around").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # A drag to the left by the picture's height turns by the field of view to the right.
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - box["height"], y, steps=4)
    page.mouse.up()
    assert near(page, COLOURS[90])
    for _ in range(18):
        page.keyboard.press("ArrowRight")
    assert near(page, COLOURS[180])
    page.click("#ahead")
    assert near(page, COLOURS[0])


def test_the_sound_turns_on_headphones(page: Any) -> None:
    assert page.get_attribute("#headphones", "aria-pressed") == "true"
    page.click("#play")
    left, right = levels(page)
    assert left > 1.5 * right > 0
    page.focus("#around")
    for _ in range(36):
        page.keyboard.press("ArrowRight")
    left, right = levels(page)
    assert right > 1.5 * left > 0
    page.click("#headphones")
    left, right = levels(page)
    assert right > 1.5 * left > 0
    page.click("#sound")
    assert max(levels(page)) < 1e-3


def test_a_hot_spot_steps_into_its_view_and_back(page: Any) -> None:
    assert not page.locator(".spot").is_visible()
    page.focus("#around")
    for _ in range(18):
        page.keyboard.press("ArrowRight")
    spot = page.locator(".spot")
    box, stage = spot.bounding_box(), page.locator("#stage").bounding_box()
    assert abs(box["x"] + box["width"] / 2 - stage["x"] - stage["width"] / 2) < 2
    assert spot.inner_text().endswith(WORDS) and page.locator("#evil").count() == 0
    page.click("#ahead")
    page.evaluate("() => (document.querySelector('#time').value = 3, "
                  "document.querySelector('#time').dispatchEvent(new Event('input')))")  # fmt: skip
    page.locator("#views button").nth(1).click()
    # The view begins at 1 s of the panorama, which stood at 3 s.
    assert 1.9 < page.evaluate("document.querySelector('#flat').currentTime") < 3
    assert near(page, (250, 250, 250))
    page.keyboard.press("Escape")
    assert not page.locator("#flat").is_visible() and near(page, COLOURS[90])


def test_a_phones_window_holds_it(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.wait_for_timeout(300)
    bar, stage = page.locator("#bar").bounding_box(), page.locator("#stage").bounding_box()
    assert bar["x"] + bar["width"] <= 360 and stage["height"] > 200
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
