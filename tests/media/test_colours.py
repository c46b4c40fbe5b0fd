"""Colours of files through read, level and reframe: matrices, ranges, HDR kept and HDR mapped."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from con360.media.colour import Colour
from con360.media.info import probe
from con360.media.painting import upright_pixels
from con360.media.planes import values_of
from con360.media.reader import PanoramaStream, read_panorama
from con360.media.tone import nits_of_pq, pq_of_nits, sdr_of
from con360.media.writer import write_clip
from con360.records import View
from con360.reframing.level import LevelSettings, level
from con360.reframing.run import ReframeSettings, reframe

# Weights of red and blue in luma, by FFmpeg's number of the matrix.
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
PATCH = 32
COLOURS = np.array([[40, 90, 200], [210, 60, 50], [60, 180, 70], [128, 128, 128], [235, 220, 80], [20, 20, 20],
                    [190, 80, 190], [230, 230, 230]])  # fmt: skip


def yuv_of(rgb: np.ndarray, matrix: int, full: bool, bits: int = 8) -> np.ndarray:
    """Values of `rgb` in [0, 1], by the definition of the matrix."""
    (red, blue), top = WEIGHTS[matrix], 2 ** (bits - 8)
    luma = rgb @ (red, 1 - red - blue, blue)
    colour = np.stack(((rgb[:, 2] - luma) / (2 - 2 * blue), (rgb[:, 0] - luma) / (2 - 2 * red)), 1)
    if full:
        most = 2**bits - 1
        return np.rint(np.concatenate((luma[:, None] * most, colour * most + 128 * top), 1))
    return np.rint(np.concatenate((luma[:, None] * 219 + 16, colour * 224 + 128), 1) * top)


def write(path: Path, rgb: np.ndarray, matrix: int, full: bool = False, transfer: int = 1, bits: int = 8) -> Path:
    """Write patches of these colours, four to a row, as a panorama without loss."""
    kind, depth = ("yuv420p", np.uint8) if bits == 8 else ("yuv420p10le", np.uint16)
    values = yuv_of(rgb, matrix, full, bits).astype(depth).reshape(2, 4, 3)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=10)
        video.width, video.height, video.pix_fmt = 4 * PATCH, 2 * PATCH, kind
        context = video.codec_context
        context.colorspace, context.color_range, context.color_trc = matrix, 2 if full else 1, transfer
        context.color_primaries = 9 if matrix == 9 else 1
        for i in range(2):
            frame = av.VideoFrame(4 * PATCH, 2 * PATCH, kind)
            frame.colorspace, frame.color_range = matrix, 2 if full else 1
            for plane, part, size in zip(frame.planes, np.moveaxis(values, 2, 0), (PATCH, PATCH // 2, PATCH // 2),
                                         strict=True):  # fmt: skip
                values_of(plane, bits)[:] = np.kron(part, np.ones((size, size), depth))
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def patches(pixels: np.ndarray) -> np.ndarray:
    """Levels in the middle of each patch."""
    return pixels[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].reshape(-1, 3).astype(float)


def first_of(path: Path) -> np.ndarray:
    return next(iter(PanoramaStream(probe(path)).frames()))[1]()


def test_matrices_and_ranges_keep_their_colours(tmp_path: Path) -> None:
    """Within 2 levels of the matrix' definition: as it is read, saved, turned, and cut out."""
    for matrix, full in product(WEIGHTS, (False, True)):
        source = write(tmp_path / "in.mkv", COLOURS / 255, matrix, full)
        frames = read_panorama(source, duration_s=0.1, height=2 * PATCH).frames
        assert np.abs(patches(frames[0].permute(1, 2, 0).numpy() * 255) - COLOURS).max() <= 2, (matrix, full)
        write_clip(tmp_path / "saved.mp4", frames, 10.0, panorama="mono")
        assert np.abs(patches(first_of(tmp_path / "saved.mp4")) - COLOURS).max() <= 2, (matrix, full)
        level(source, tmp_path / "turned.mp4", LevelSettings(yaw_deg=90.0))
        turned = np.roll(COLOURS.reshape(2, 4, 3), -1, 1).reshape(-1, 3)
        assert np.abs(patches(first_of(tmp_path / "turned.mp4")) - turned).max() <= 2, (matrix, full)
        reframe(source, tmp_path / "cut.mp4", View(-135.0, 45.0, 30.0), ReframeSettings(size=(64, 64)))
        with av.open(str(tmp_path / "cut.mp4")) as container:
            cut = upright_pixels(next(container.decode(video=0)), probe(tmp_path / "cut.mp4"))
        assert np.abs(cut[32, 32].astype(float) - COLOURS[0]).max() <= 2, (matrix, full)


def test_pq_and_hlg_are_those_of_the_recommendations() -> None:
    """BT.2408: HDR's reference white, 203 cd/m², is 58 % of PQ and 75 % of HLG; BT.2100: 10000 cd/m² is all of PQ."""
    assert nits_of_pq(np.array([0.0, 0.58, 1.0])) == pytest.approx([0.0, 203, 10000], rel=0.01)
    assert pq_of_nits(np.array([203.0])) == pytest.approx([0.58], abs=0.002)
    signal = np.array([0.58, 0.75])
    white = [sdr_of(np.full((1, 1, 3), round(1023 * one), np.uint16), 10, Colour(9, 9, transfer))[0, 0]
             for one, transfer in zip(signal, (16, 18), strict=True)]  # fmt: skip
    assert np.ptp(white) <= 1 and 200 < white[0][0] < 245


def test_tone_mapping_keeps_order_hue_and_what_is_dark() -> None:
    for transfer in (16, 18):
        grey = np.repeat(np.arange(1024, dtype=np.uint16)[None, :, None], 3, 2)
        mapped = sdr_of(grey, 10, Colour(9, 9, transfer))[0].astype(int)
        assert (np.diff(mapped, axis=0) >= 0).all() and mapped[0].tolist() == [0, 0, 0]
        assert mapped[-1].tolist() == [255, 255, 255] and np.ptp(mapped, axis=1).max() <= 1
    # 20 cd/m² lies below the curve's knee: 20 of SDR's 203.
    dark = np.full((1, 1, 3), round(1023 * float(pq_of_nits(np.array(20.0)))), np.uint16)
    assert sdr_of(dark, 10, Colour(9, 9, 16))[0, 0] == pytest.approx(255 * (20 / 203) ** (1 / 2.4), abs=1)
    # Pure red of BT.709 in BT.2020's numbers is pure red again.
    red = pq_of_nits(100 * np.array([0.6274, 0.0691, 0.0164]))
    shown = sdr_of(np.rint(red * 1023).astype(np.uint16)[None, None], 10, Colour(9, 9, 16))[0, 0]
    assert shown[0] > 180 and shown[1:].max() <= 8


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_mapped_kept_or_left_with_a_notice(tmp_path: Path, transfer: int) -> None:
    source = write(tmp_path / "in.mkv", COLOURS / 255, 9, transfer=transfer, bits=10)
    wanted = sdr_of(np.rint(COLOURS * 1023 / 255).astype(np.uint16)[None], 10, Colour(9, 9, transfer))[0].astype(float)
    clips = {hdr: read_panorama(source, duration_s=0.1, height=2 * PATCH, hdr=hdr) for hdr in ("tone-map", "values")}
    frames = {hdr: patches(clip.frames[0].permute(1, 2, 0).numpy() * 255) for hdr, clip in clips.items()}
    assert np.abs(frames["tone-map"] - wanted).max() <= 3 and np.abs(frames["values"] - COLOURS).max() <= 2
    assert "tone-mapped" in clips["tone-map"].notices[0] and "as they are" in clips["values"].notices[0]
    mapped = level(source, tmp_path / "sdr.mp4", LevelSettings(yaw_deg=180.0))
    kept = level(source, tmp_path / "hdr.mp4", LevelSettings(yaw_deg=180.0, hdr="keep"))
    assert "tone-mapped" in mapped.notices[0] and "stays HDR" in kept.notices[0]
    turned = np.roll(wanted.reshape(2, 4, 3), 2, 1).reshape(-1, 3)
    for name, hdr in (("sdr.mp4", ""), ("hdr.mp4", {16: "PQ", 18: "HLG"}[transfer])):
        assert probe(tmp_path / name).colour.hdr == hdr
        assert np.abs(patches(first_of(tmp_path / name)) - turned).max() <= 5
    with av.open(str(tmp_path / "hdr.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p10le"
        # Ten bits are ten: levels that eight bits lack.
        assert len({int(v) % 4 for v in values_of(frame.planes[0], 10)[16::32, 16::32].ravel()}) > 1
