"""Check files as a user does: one, a folder, a broken one, a long one; and each file of the shared data."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import data_path

from benchmarks.check.base import FPS, procedural
from benchmarks.check.known import MEND, to_mend
from con360.checking import samples
from con360.checking.run import check, check_clip, media_files
from con360.cli import main
from con360.errors import InputError
from con360.media.writer import clip_stream
from con360.records import PanoramaClip

SMALL_BYTES = 2**20


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["video", "photo", "foa"])
def test_shared_files_are_judged_right(folder: str) -> None:
    """The large ones are judged by `python -m benchmarks.check`."""
    paths = [path for path in media_files(data_path(folder)) if path.stat().st_size < SMALL_BYTES]
    assert {path.name: found for path in paths if (found := to_mend(path)) != MEND.get(path.name, set())} == {}


@pytest.mark.slow
def test_a_folder_of_broken_files_is_checked_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    folder = data_path("bad")
    assert main(["check", str(folder), "--json"]) == 3
    files = json.loads(capsys.readouterr().out)["files"]
    found = {
        one["name"]: {f["name"] for f in one["findings"] if f["state"] == "mend"} for one in files if one["must_mend"]
    }
    assert found == {path.name: MEND[path.name] for path in media_files(folder) if path.name in MEND}
    assert len(files) == len([path for path in folder.iterdir() if path.suffix != ".md"])


def test_a_broken_file_is_a_line_and_the_folder_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("left out")
    with clip_stream(tmp_path / "c.mp4", (128, 64), Fraction(1, 4), 4, panorama="mono") as clip:
        for i in range(4):
            clip.add_frame(np.full((64, 128, 3), 90 + i, np.uint8), i)
    assert main(["check", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert out.index("a.mp4\n  mend") < out.index("b.mp4\n  mend") < out.index("c.mp4\n  mend     motion")
    assert "3 files, 3 of them to mend" in out and "notes" not in out
    assert main(["check", str(tmp_path / "none.mp4")]) == 2 and "there is no file" in capsys.readouterr().err
    with pytest.raises(InputError, match="no file"):
        check(tmp_path / "none.mp4")


def test_a_clip_that_is_held_is_judged_without_metadata() -> None:
    base = procedural(128)
    frames = torch.from_numpy(base.frames).movedim(-1, 1).float() / 255
    found = check_clip(PanoramaClip(frames, FPS, base.sound))
    states = {finding.name: finding.state for finding in found.findings}
    assert not found.must_mend and states["projection"] == states["motion"] == states["order"] == "good"
    assert "metadata" not in states


def test_of_a_long_file_few_pictures_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes: each moment is sought, and what lies between two of them is not converted."""
    pictures = np.random.default_rng(0).integers(0, 255, (5, 32, 64, 3), np.uint8)
    with clip_stream(tmp_path / "long.mp4", (64, 32), Fraction(4, 1), 0.25) as clip:
        for i in range(150):
            clip.add_frame(pictures[i % 5], i)
    converted = []
    plain = samples.upright_pixels
    monkeypatch.setattr(samples, "upright_pixels", lambda *given: converted.append(1) or plain(*given))
    found = check(tmp_path / "long.mp4")
    assert (
        len(converted) == samples.PICTURES + len(samples.TWICE)
        and found.state("file") == "good"
        and found.state("motion") == "good"
    )
