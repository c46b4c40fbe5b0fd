"""Load a face detector and find faces with it; a tiny network in CenterFace's layout stands in for it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import SIDE_PX, write_face_detector

from con360.errors import InputError
from con360.geometry.sphere import angle_between_deg, directions
from con360.saliency.human_faces import PX_PER_DEG, FaceDetector
from con360.weights.catalog import KNOWN_PARTS
from con360.weights.find import face_detector_file, find


@pytest.fixture
def detector(tmp_path: Path) -> FaceDetector:
    return FaceDetector(write_face_detector(tmp_path / "centerface.onnx"))


def panorama(yaw: float, pitch: float, half_deg: float = 2.0, height: int = 768) -> np.ndarray:
    """Black, with a white block that wraps around the seam."""
    frame = np.zeros((height, 2 * height, 3), np.uint8)
    per_deg = height / 180.0
    rows = slice(round((90 - pitch - half_deg) * per_deg), round((90 - pitch + half_deg) * per_deg))
    columns = np.arange(round((yaw + 180 - half_deg) * per_deg), round((yaw + 180 + half_deg) * per_deg))
    frame[rows, columns % (2 * height)] = 255
    return frame


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (75.0, 30.0), (-179.0, -20.0), (179.5, 40.0)])
def test_a_face_is_found_where_it_is_also_over_the_seam(detector, yaw, pitch):
    found = detector.find(panorama(yaw, pitch))
    assert found, "nothing was found"
    best = found[0]
    assert float(angle_between_deg(directions(best.yaw_deg, best.pitch_deg), directions(yaw, pitch))) < 2.5
    assert best.half_size_deg == pytest.approx(SIDE_PX / PX_PER_DEG / 2, rel=0.01)
    assert best.score == pytest.approx(1.0, abs=0.01) and -180 <= best.yaw_deg < 180


def test_overlapping_boxes_are_one_face_and_distant_ones_two(detector):
    two = np.maximum(panorama(-40.0, 0.0, 1.0), panorama(40.0, 10.0, 1.0))
    found = detector.find(two)
    places = [directions(face.yaw_deg, face.pitch_deg) for face in found]
    for i, a in enumerate(places):
        for b in places[:i]:
            assert float(angle_between_deg(a, b)) > found[i].half_size_deg
    sides = {math.copysign(1, face.yaw_deg) for face in found}
    assert sides == {-1.0, 1.0}


def test_nothing_is_found_in_black_and_beyond_the_strip(detector):
    assert detector.find(np.zeros((256, 512, 3), np.uint8)) == ()
    assert detector.find(panorama(0.0, 80.0)) == ()


def test_other_files_are_named(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="text.onnx is no face detector that can be used"):
        FaceDetector(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="not CenterFace"):
        FaceDetector(write_face_detector(tmp_path / "other.onnx", heads=(4, 2)))
    with pytest.raises(InputError, match="there is no file"):
        FaceDetector(tmp_path / "none.onnx")


def test_the_model_folders_detector_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("CON360_MODELS", str(tmp_path))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert face_detector_file() is None
    (tmp_path / "con360_faces").mkdir()
    file = write_face_detector(tmp_path / "con360_faces" / "any name.onnx")
    assert face_detector_file() == file
    assert face_detector_file("none") is None
    part = next(part for part in KNOWN_PARTS if part.key == "faces")
    assert [found.path for found in find(part, [tmp_path])] == [file]
    with pytest.raises(InputError, match="there is no file"):
        face_detector_file(tmp_path / "other.onnx")
