"""Files of our writer before programs of others (tests/inspectors.py)."""

from __future__ import annotations

import pytest
import torch
from inspectors import Facts, check_file, inspect, missing

from con360.media.writer import write_clip
from con360.records import Sound

FRAMES = torch.full((8, 3, 64, 128), 0.5)
MONO = Sound(torch.zeros(1, 16000), 16000)
FIELD = Sound(0.1 * torch.randn(4, 16000, generator=torch.Generator().manual_seed(0)), 16000, "ambix")


@pytest.mark.parametrize(
    ("packing", "sound", "facts"),
    [
        ("mono", FIELD, Facts("equirectangular", "mono", 1)),
        ("top-bottom", MONO, Facts("equirectangular", "top-bottom", 0)),
        ("left-right", None, Facts("equirectangular", "left-right", 0)),
        (None, MONO, Facts("", "mono", 0)),
        (None, FIELD, Facts("", "mono", 1)),
    ],
)
def test_inspectors_agree_on_written_clips(tmp_path, packing, sound, facts):
    write_clip(tmp_path / "clip.mp4", FRAMES, 8.0, sound, panorama=packing)
    asked = check_file(tmp_path / "clip.mp4", facts)
    print(f"asked: {', '.join(asked)}; not found: {', '.join(missing()) or 'none'}")
    assert set(asked) | set(missing()) == {"box reader", "exiftool", "mediainfo", "spatial-media"}
    assert "box reader" in asked


def test_a_contradiction_is_told(tmp_path):
    write_clip(tmp_path / "clip.mp4", FRAMES, 8.0, panorama="mono")
    for facts in inspect(tmp_path / "clip.mp4").values():
        assert facts.projection in (None, "equirectangular")
    with pytest.raises(AssertionError, match="box reader says that stereo"):
        check_file(tmp_path / "clip.mp4", Facts("equirectangular", "top-bottom", 0))
