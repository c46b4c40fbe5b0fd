"""Level 360° Video, run in the stand-in."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from con360.media.info import probe
from con360.media.reader import PanoramaStream, read_sound
from con360.media.spherical_tags import tag_file
from con360.media.writer import clip_stream
from con360.metrics.audio import foa_angles_deg
from con360.sound.ambisonics import encode
from tools.host import Host

pytestmark = pytest.mark.standin

RATE = 48000


@pytest.fixture(scope="module")
def footage(host: Host) -> str:
    """Ten frames, white above and black below, with a tone in front; the file states that the camera looked 30° up."""
    wave = encode(0.5 * torch.sin(torch.arange(RATE // 3) * 0.06), 0.0, 0.0)
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32] = 250
    path = host.base / "input" / "tilted.mp4"
    with clip_stream(path, (128, 64), Fraction(1, 30), 30, (4, RATE), panorama="mono") as clip:
        for i in range(10):
            clip.add_frame(picture, i)
        clip.add_sound(wave.numpy())
    tag_file(path, panorama="mono", ambisonic=True, pose_deg=(0.0, 30.0, 0.0))
    return "tilted.mp4"


def prompt(video: str, **inputs: Any) -> dict[str, Any]:
    values = {
        "video": video,
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "auto": False,
        "filename_prefix": "level",
        **inputs,
    }
    return {"1": {"class_type": "Con360Level360Video", "inputs": values}}


def written(result: Any) -> Path:
    return Path(result.outputs["1"][0].get_stream_source())


def first_frame(path: Path) -> np.ndarray:
    return next(iter(PanoramaStream(probe(path)).frames()))[1]()


def horizon_row(frame: np.ndarray, column: int) -> int:
    return int(np.argmax(frame[:, column, 0] < 125))


def test_the_stated_tilt_is_undone_and_the_file_saved(run: Any, host: Host, footage: str) -> None:
    result = run(prompt(footage, auto=True))
    assert result.status == "done", result.error
    path = written(result)
    assert path.parent == host.base / "output" and path.name.startswith("level")
    info = probe(path)
    assert info.spherical.projection == "equirectangular" and info.spherical.pose_deg == (0.0, 0.0, 0.0)
    # The recorded front lies 30° up, the back 30° down: 64 rows are 180°.
    frame = first_frame(path)
    assert abs(horizon_row(frame, 64) - (32 - 30 / 180 * 64)) <= 1
    assert abs(horizon_row(frame, 0) - (32 + 30 / 180 * 64)) <= 1
    yaw, pitch = foa_angles_deg(read_sound(path)[0])
    assert (yaw, pitch) == pytest.approx((0.0, 30.0), abs=1.0)
    [shown] = result.ui["1"]["con360"]
    assert shown["levelled"]["filename"] == path.name and shown["levelled"]["set"]["auto"] is True
    assert shown["tilt"]["pitch"] == pytest.approx(-30.0) and "was undone" in result.outputs["1"][1]


def test_angles_turn_the_picture_and_the_sound(run: Any, footage: str) -> None:
    result = run(prompt(footage, yaw=90.0, recentre=-30.0))
    assert result.status == "done", result.error
    yaw, pitch = foa_angles_deg(read_sound(written(result))[0])
    assert (yaw, pitch) == pytest.approx((-60.0, 0.0), abs=1.0)


def test_a_linked_video_takes_the_files_place(run: Any, footage: str) -> None:
    graph = prompt("[built-in sample]", roll=90.0, clip=["2", 0])
    graph["2"] = prompt(footage, yaw=10.0)["1"]
    result = run(graph)
    assert result.status == "done", result.error
    # The camera leans to its right by 90°: the picture turns to the left, and what was above lies there.
    frame = first_frame(written(result))
    assert frame[32, 32].mean() > 190 and frame[32, 96].mean() < 60


def test_the_sample_stands_in_for_a_file(run: Any) -> None:
    result = run(prompt("[built-in sample]", yaw=90.0))
    assert result.status == "done", (result.error, result.complaints)
    assert read_sound(written(result))[0].layout == "ambix"
    assert result.ui["1"]["con360"][0]["sample"]["filename"].startswith("con360_sample")


def test_frames_are_turned_with_their_sound(run: Any) -> None:
    graph = prompt("[built-in sample]", yaw=90.0, frames=["2", 0], audio=["2", 1])
    sample = {"video": "[built-in sample]", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"}
    graph["2"] = {"class_type": "Load360Video", "inputs": sample}
    result = run(graph)
    assert result.status == "done", (result.error, result.complaints)
    assert probe(written(result)).width == 128 and read_sound(written(result))[0].layout == "ambix"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"video": "gone.mp4"}, "there is no file 'gone.mp4'"), ({"codec": "VP9"}, "VP9"),
        ({"video": "[built-in sample]", "auto": True}, "the built-in sample is level"), ({"quality": "best"}, "best"),
        ({"video": "plain.mp4", "auto": True}, "plain.mp4 states no tilt"),
    ],
)  # fmt: skip
def test_wrong_widgets_are_refused_at_submission(
    run: Any, host: Host, footage: str, inputs: dict[str, Any], words: str
) -> None:
    plain = host.base / "input" / "plain.mp4"
    if not plain.exists():
        with clip_stream(plain, (64, 32), Fraction(1, 10), 10) as clip:
            clip.add_frame(np.zeros((32, 64, 3), np.uint8), 0)
    result = run(prompt(**{"video": footage, **inputs}))
    assert result.status == "refused" and words in "\n".join(result.complaints["1"]), result.complaints


@pytest.mark.parametrize("linked", ["clip", "frames"])
def test_auto_asks_nothing_of_a_file_that_a_link_replaces(pack: Any, linked: str) -> None:
    validate = pack("nodes.level").Con360Level360Video.validate_inputs
    assert validate("[built-in sample]", True, **{linked: None}) is True
    assert "is level" in validate("[built-in sample]", True)


def test_a_cancel_saves_nothing(run: Any, host: Host, footage: str) -> None:
    before = set((host.base / "output").iterdir())

    def stop(node: str, done: float, total: float) -> None:
        if done == 3:
            host.interrupt()

    assert run(prompt(footage, yaw=55.0), stop).status == "interrupted"
    assert set((host.base / "output").iterdir()) == before
