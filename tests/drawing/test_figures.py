"""The explaining picture: where things are drawn, what counts as a difference, and inputs at the edge."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from con360.drawing.compass import SoundMark
from con360.drawing.figure import (
    COMPASS_HEIGHT,
    PANORAMA_HEIGHT,
    LookingView,
    Mark,
    Panel,
    _mel_row,
    conditions_figure,
    louder,
    mel_db,
    wrap_text,
    write_figure,
)
from con360.drawing.panorama import VIEW_COLOURS, box_outline, font, heat_overlay, pieces_on_map
from con360.geometry.perspective import to_camera
from con360.geometry.sphere import angles, directions
from con360.records import (
    PanoramaClip,
    Region,
    SaliencyMaps,
    SceneCaption,
    Sound,
    View,
    Viewpoint,
    ViewpointClip,
    ViewTrack,
)
from con360.sound.ambisonics import encode


def tone(hz: float, seconds: float = 1.0, rate: int = 16000, gain: float = 1.0) -> Sound:
    time_s = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return Sound((gain * torch.sin(2 * math.pi * hz * time_s)).float()[None], rate)


def clip_with(sound: Sound) -> ViewpointClip:
    return ViewpointClip(torch.full((4, 3, 16, 16), 0.5), 8.0, sound)


def figure(view: View, found: tuple[Viewpoint, ...] = (), **options):
    frames = torch.full((4, 3, 32, 64), 0.5)
    track = ViewTrack.still(view, len(frames))
    return conditions_figure(
        PanoramaClip(frames, 8.0), SaliencyMaps(torch.zeros(len(frames), 32, 64), "none"), found,
        [LookingView("view", track)], SceneCaption("a caption"), [Panel("one", clip_with(tone(440.0)))], **options,
    )  # fmt: skip


def test_convention_places_on_the_map() -> None:
    # Yaw 45 right, pitch 30 up on a map of 180 x 360: x = 180 + 45, y = 90 - 30.
    [piece] = pieces_on_map(directions(torch.tensor([45.0, 46.0]), torch.tensor([30.0, 30.0])), 180)
    assert piece[0] == pytest.approx((225.0, 60.0), abs=1e-4)


def test_a_curve_over_the_seam_is_cut_in_two_pieces_that_reach_the_edges() -> None:
    yaw = torch.arange(150.0, 211.0, 4.0)
    pieces = pieces_on_map(directions(yaw, torch.zeros_like(yaw)), 180)
    assert len(pieces) == 2
    assert sorted(round(float(piece[:, 0].max())) for piece in pieces) == [30, 362]
    assert min(piece[:, 0].min() for piece in pieces) == pytest.approx(-2.0, abs=1e-3)
    # No piece jumps across the map, which would draw a line through it.
    assert max(np.abs(np.diff(piece[:, 0])).max() for piece in pieces) < 5


def test_a_closed_curve_around_a_pole_runs_from_edge_to_edge() -> None:
    yaw = torch.arange(0.0, 360.0, 5.0)
    pieces = pieces_on_map(directions(yaw, torch.full_like(yaw, 80.0)), 180, closed=True)
    x = np.concatenate([piece[:, 0] for piece in pieces])
    assert x.min() <= 0.01 and x.max() >= 359.9
    assert all(np.abs(np.diff(piece[:, 0])).max() < 11 for piece in pieces)


def test_box_outline_spans_the_box_in_the_frame_of_its_centroid() -> None:
    region = Region(170.0, 40.0, 30.0, 50.0, 0.5)
    across, up = angles(to_camera(box_outline(region), View(170.0, 40.0)))
    assert across.abs().max().item() == pytest.approx(15.0, abs=1e-6)
    assert up.abs().max().item() == pytest.approx(25.0, abs=1e-6)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 2500.0, 6000.0])
def test_convention_the_frequency_axis_is_that_of_the_mel_bands(hz: float) -> None:
    assert mel_db(tone(hz)).mean(1).argmax() / 64 == pytest.approx(_mel_row(hz), abs=1.5 / 64)


def test_mel_of_stereo_at_another_rate_is_that_of_its_mean() -> None:
    left = tone(1000.0, rate=48000).waveform
    both = mel_db(Sound(torch.cat((left, torch.zeros_like(left))), 48000, "stereo"))
    assert both.max() == pytest.approx(mel_db(tone(1000.0, gain=0.5)).max(), abs=0.1)


def test_louder_marks_what_was_added_and_nothing_else() -> None:
    low, high = tone(300.0).waveform, tone(3000.0).waveform
    both, alone = mel_db(Sound(low + high, 16000)), mel_db(Sound(low, 16000))
    added = louder(both, alone, floor_db=-30.0)
    row = round(_mel_row(3000.0) * 64)
    assert added[row, 20:80].all()
    # The first and last frames hold the clicks of two tones that begin and end at once.
    assert not added[: row - 12, 5:-5].any()
    assert not louder(alone, both, floor_db=-30.0)[:, 5:-5].any()
    # A difference between two levels of silence is not marked.
    assert not louder(alone - 100.0, alone - 150.0, floor_db=-30.0).any()


def test_heat_is_transparent_where_nothing_is_salient() -> None:
    frame, saliency = torch.full((3, 32, 64), 0.5), torch.zeros(32, 64)
    saliency[:, 32:] = 1.0
    overlay = heat_overlay(frame, saliency, 64)
    plain = heat_overlay(frame, torch.zeros(32, 64), 64)
    assert (overlay[:, 2:60] == plain[:, 2:60]).all()
    assert np.abs(overlay[:, 70:].astype(int) - plain[:, 70:]).max() > 60


def test_the_outline_lies_where_the_view_looks() -> None:
    picture = np.asarray(figure(View(90.0, 0.0, 60.0))).astype(int)
    pink = np.abs(picture - np.array(VIEW_COLOURS[0])).max(-1) < 12
    pink[: 28 + 34] = pink[28 + 34 + PANORAMA_HEIGHT :] = False
    pink[:, 28 + 44 + 2 * PANORAMA_HEIGHT :] = False
    columns = np.flatnonzero(pink.any(0)) - (28 + 44)
    yaw = (columns + 0.5) / (2 * PANORAMA_HEIGHT) * 360 - 180
    # Widest at the corners of a square of 60 degrees at the horizon: 30 on either side.
    assert yaw.min() == pytest.approx(60.0, abs=1.5)
    assert yaw.max() == pytest.approx(120.0, abs=1.5)


def test_wrapped_text_fits_and_loses_nothing() -> None:
    text = "a red disc hums in front, " * 8 + "x" * 200
    lines = wrap_text(text, 200, 17)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(font(17).getlength(line) for line in lines) <= 200
    assert wrap_text("  ", 200, 17) == []


@pytest.mark.parametrize("view", [View(0.0, 90.0, 120.0), View(-180.0, -60.0, 90.0), View(30.0, 0.0, 150.0)])
def test_views_over_poles_and_seam_are_drawn(view: View) -> None:
    region = Region(179.0, 89.0, 360.0, 40.0, 0.4)
    found = (Viewpoint(1, region, ViewTrack.still(view, 4)), Viewpoint(2, None, ViewTrack.still(View(0.0), 4)))
    picture = figure(view, found, marks=[Mark(178.0, -88.0, "at the edge")])
    assert picture.size[0] == 1680 and len(picture.getcolors(1 << 24)) > 100


def test_sounds_stand_in_the_panorama_and_in_the_compass_below_it() -> None:
    track, frames = ViewTrack.still(View(0.0), 4), torch.full((4, 3, 32, 64), 0.5)
    sound = Sound(encode(tone(700.0, 0.5).waveform[0], 90.0, 20.0), 16000, "ambix")

    def drawn(**options) -> np.ndarray:
        clip = PanoramaClip(frames, 8.0, options.pop("sound", None))
        maps = SaliencyMaps(torch.zeros(4, 32, 64), "none")
        return np.asarray(
            conditions_figure(clip, maps, (), [LookingView("v", track)], SceneCaption("a"), (), **options)
        ).astype(int)

    plain, heard = drawn(), drawn(sound=sound)
    above = slice(0, 28 + 34 + PANORAMA_HEIGHT)
    assert len(heard) > len(plain) + COMPASS_HEIGHT and (heard[above] == plain[above]).all()
    strip = heard[28 + 34 + PANORAMA_HEIGHT + 62 + 24 + COMPASS_HEIGHT // 2, 72 : 72 + 2 * PANORAMA_HEIGHT].sum(-1)
    assert strip.argmax() / (2 * PANORAMA_HEIGHT) * 360 - 180 == pytest.approx(90, abs=4)
    marked = drawn(sound=sound, sounds=[SoundMark(90.0, 20.0, "the drum")])
    rows, columns = np.nonzero((marked[above] != heard[above]).any(-1))
    assert columns.mean() - 72 == pytest.approx(0.75 * 2 * PANORAMA_HEIGHT, abs=10)
    assert rows.max() < 62 + PANORAMA_HEIGHT * 70 / 180, "above its place, which stays in sight"


def test_silence_black_frames_and_long_captions_are_drawn(tmp_path) -> None:
    track = ViewTrack(tuple(View(10.0 * i) for i in range(4)))
    silent = Panel("silent", clip_with(Sound(torch.zeros(1, 16000), 16000)))
    picture = conditions_figure(
        PanoramaClip(torch.zeros(4, 3, 32, 64), 8.0), SaliencyMaps(torch.ones(4, 32, 64), "flat"), (),
        [LookingView("view", track)], SceneCaption("word " * 400), [silent, silent],
    )  # fmt: skip
    write_figure(tmp_path / "new" / "picture.png", picture)
    assert (tmp_path / "new" / "picture.png").stat().st_size > 10_000
    # Silence is drawn dark: the colour scale does not stretch to fit it.
    middle = np.asarray(picture)[-120, 200:700]
    assert middle.mean() < 30
