"""An artist's hour in small: upload, level, follow, take over as keyframes, edit, cut for a phone, hear, save."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from browser.hands import ENDS, at, choose_file, drag, on_strip, tick, wait
from browser.page import ComfyPage
from PIL import Image

from con360.media.info import MediaInfo, probe
from con360.media.spherical_tags import tag_file
from con360.media.writer import write_clip
from con360.records import Sound
from con360.reframing.level import LevelSettings, level
from con360.scenes import demo_scene
from con360.sound.ambisonics import encode
from con360.timing import ClipSpec
from tools.workflow_form import Column, Node, To, Workflow, ui_format

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

LEVEL, REFRAME, SAVE = "Con360Level360Video", "Reframe360Video", "SaveVideo"
SECONDS, FPS, RATE_HZ = 2.0, 8.0, 48000
# Of the camera that recorded, in degrees; and where the only sound lies.
PITCH, ROLL, SOUND_YAW = 8.0, -12.0, 40.0
# Moments at which the sound lies to the right and to the left of the edited path, in seconds.
EARLY, LATE = 0.25, 1.75
TALL = (180, 320)


@pytest.fixture
def page(comfy: ComfyPage) -> ComfyPage:
    """Open Level, Reframe and Save Video in a row."""
    columns = [
        Column("level", 420, [Node(1, LEVEL, 700, auto=True)]),
        Column("camera", 420, [Node(2, REFRAME, 1150, clip=To(1, "video"), height=TALL[1])]),
        Column("save", 420, [Node(3, SAVE, 300, video=To(2, "video"), filename_prefix="video/tall")]),
    ]
    comfy.load(ui_format(Workflow("hour", columns, app=([], [])), comfy.server.object_info()))
    comfy.complaints.clear()
    return comfy


def record(folder: Path) -> Path:
    """Write a level recording, and as a tilted camera would have it, which says so."""
    frames = demo_scene().panorama(256, ClipSpec(seconds=SECONDS, fps=FPS)).frames
    noise = 0.2 * torch.randn(int(SECONDS * RATE_HZ), generator=torch.Generator().manual_seed(1))
    straight, tilted = folder / "straight.mp4", folder / "tilted.mp4"
    write_clip(straight, frames, FPS, Sound(encode(noise, SOUND_YAW, 0.0), RATE_HZ, "ambix"), panorama="mono")
    level(straight, tilted, LevelSettings(pitch_deg=PITCH, roll_deg=ROLL))
    tag_file(tilted, panorama="mono", ambisonic=True, pose_deg=(0.0, PITCH, ROLL))
    return tilted


def upload(page: ComfyPage, file: Path) -> None:
    """Upload by Level's button over a slow line: until the file is there, nothing asks for it."""
    held: list[Any] = []
    page.page.route("**/upload/**", lambda route: held.append(route))
    choose_file(page, LEVEL, file)
    wait(page, lambda: len(held), 1)
    page.page.wait_for_timeout(1000)
    # Frontend 1.27 names the file once the server has it.
    assert page.panel(LEVEL, ".con360-hint").inner_text() in ("Uploading…", "Run once to see the picture here")
    held[0].continue_()
    page.page.unroute("**/upload/**")
    wait(page, page.panel(LEVEL, ".con360-clock").inner_text, f"0.0 / {SECONDS:.1f} s")
    assert page.value(LEVEL, "video") == file.name and page.complaints == []


def edit(page: ComfyPage) -> list[dict[str, Any]]:
    """Turn the handed-over path into one that pans across the sound: drag both ends, move, copy and ease a keyframe."""
    while len(keys(page)) > 1:
        page.page.mouse.click(*tick(page, REFRAME, 1))
        page.page.wait_for_timeout(300)
        page.page.keyboard.press("Delete")
        page.page.wait_for_timeout(300)
    drag(page, tick(page, REFRAME, 1), (on_strip(page, REFRAME, 0.2, SECONDS)[0], tick(page, REFRAME, 1)[1]))
    page.page.keyboard.down("Alt")
    drag(page, tick(page, REFRAME, 1), (on_strip(page, REFRAME, 1.8, SECONDS)[0], tick(page, REFRAME, 1)[1]))
    page.page.keyboard.up("Alt")
    for number, yaw in ((1, SOUND_YAW - 70), (2, SOUND_YAW + 70)):
        page.page.mouse.click(*tick(page, REFRAME, number))
        page.page.wait_for_timeout(400)
        held = keys(page)[number - 1]
        drag(page, at(page, REFRAME, held["yaw"], held["pitch"]), at(page, REFRAME, yaw, 0))
    page.page.mouse.click(*tick(page, REFRAME, 1))
    page.panel(REFRAME, ".con360-lens select:last-of-type").select_option("smooth")
    shape = page.panel(REFRAME, ".con360-lens select")
    shape.select_option("9:16")
    page.page.wait_for_timeout(400)
    # A side that was set stays, and the shape goes by its name.
    assert (shape.input_value(), page.value(REFRAME, "width"), page.value(REFRAME, "height")) == ("9:16", 0, TALL[1])
    page.set_value(REFRAME, "width", TALL[0])
    page.page.wait_for_timeout(400)
    assert shape.input_value() == "9:16"
    return keys(page)


def keys(page: ComfyPage) -> list[dict[str, Any]]:
    return json.loads(page.value(REFRAME, "keyframes"))


def framed(page: ComfyPage, time_s: float) -> np.ndarray:
    """The picture that Reframe's panel frames at a time, at the size of the cut."""
    page.page.mouse.click(*on_strip(page, REFRAME, time_s, SECONDS))
    wait(page, page.panel(REFRAME, ".con360-clock").inner_text, f"{time_s:.1f} / {SECONDS:.1f} s")
    page.page.wait_for_timeout(1000)
    shot = Image.open(io.BytesIO(page.panel(REFRAME, ".con360-framed canvas").screenshot())).convert("RGB")
    return np.asarray(shot.resize(TALL), np.float32)


def saved(page: ComfyPage, node: str) -> Path:
    [image] = list(page.server.get("/history").values())[-1]["outputs"][node]["images"]
    return page.server.file(image)


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [np.asarray(frame.to_image(), np.float32) for frame in file.decode(video=0)]


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.concatenate([block.to_ndarray() for block in file.decode(audio=0)], axis=1)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Leave out the edges, where the panel has round corners and a frame."""
    apart = (one - other)[8:-8, 8:-8]
    return float(10 * np.log10(255**2 / np.mean(apart**2)))


def of_ambisonics(info: MediaInfo) -> tuple[str, str, tuple[float, ...], int]:
    [track] = info.audio_tracks
    return info.spherical.projection, track.heard.layout, info.spherical.pose_deg, track.channels


@pytest.mark.parametrize("comfy", ENDS[1:], indirect=True)
def test_an_artists_hour(page: ComfyPage, tmp_path: Path) -> None:
    upload(page, record(tmp_path))
    page.queue()
    page.shot("levelled")
    levelled = saved(page, "1")
    assert of_ambisonics(probe(levelled)) == ("equirectangular", "ambix", (0, 0, 0), 4)
    truth = pictures(tmp_path / "straight.mp4")
    assert len(truth) == len(pictures(levelled)) == SECONDS * FPS
    assert psnr(pictures(levelled)[4], truth[4]) > 30 > 25 > psnr(pictures(tmp_path / "tilted.mp4")[4], truth[4])

    page.show(REFRAME)
    page.page.wait_for_timeout(500)
    page.panel(REFRAME, "button[aria-label^='Turn the path']").click()
    wait(page, lambda: page.value(REFRAME, "mode"), "keyframes")
    page.shot("handed_over")
    path = edit(page)
    assert [(round(frame["time"], 1), frame.get("ease")) for frame in path] == [(0.2, "smooth"), (1.8, "smooth")]
    assert [frame["yaw"] for frame in path] == pytest.approx([SOUND_YAW - 70, SOUND_YAW + 70], abs=3)
    page.set_value(REFRAME, "sound", "headphones")
    sight = framed(page, 1.0)
    page.shot("edited")
    page.queue()
    page.show(REFRAME, SAVE)
    page.shot("saved")
    check_cut(saved(page, "3"), sight)
    assert page.complaints == []


def check_cut(path: Path, sight: np.ndarray) -> None:
    """Check that the file shows what the panel framed, and sounds as two ears hear it there."""
    info, frames, ears = probe(path), pictures(path), heard(path)
    assert (info.width, info.height, len(frames)) == (*TALL, SECONDS * FPS)
    assert info.duration_s == pytest.approx(SECONDS, abs=0.05) and len(ears) == 2
    fit = [psnr(sight, frame) for frame in frames]
    assert int(np.argmax(fit)) == 1.0 * FPS and max(fit) > 26, fit
    for time_s, louder in ((EARLY, 1), (LATE, 0)):
        left, right = (np.sqrt(np.mean(ear**2)) for ear in ears[:, slice_at(time_s)])
        assert np.log10(right / left) * (2 * louder - 1) > 0.1, time_s


def slice_at(time_s: float) -> slice:
    return slice(int((time_s - 0.15) * RATE_HZ), int((time_s + 0.15) * RATE_HZ))
