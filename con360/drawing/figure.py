"""Draw one picture that explains a generation: findings in the panorama, directions of the views, sound.

Drawn with Pillow and OpenCV alone. Convention: pictures here are `[H, W, 3]` uint8 arrays; the panorama's axes are yaw
and pitch in degrees, a spectrogram's seconds and hertz (on the mel scale that the model works on).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from ..geometry.perspective import fov_outline
from ..geometry.sphere import directions
from ..media.files import atomic_path
from ..media.writer import to_uint8
from ..records import PanoramaClip, Region, SaliencyMaps, SceneCaption, Sound, Viewpoint, ViewpointClip, ViewTrack
from ..sound.levels import resample, to_mono
from ..sound.mels import MEL_MAX_HZ, SAMPLE_RATE_HZ, log_mel
from .compass import RANGE_DB, SoundMark, draw_compass, draw_sound_mark
from .panorama import (
    BASD_STEP_DEG,
    OVERSAMPLING,
    VIEW_COLOURS,
    Canvas,
    Colour,
    box_outline,
    draw_basd,
    draw_curve,
    font,
    heat_colours,
    heat_overlay,
    on_map,
)

WIDTH = 1680
MARGIN = 28
PANORAMA_HEIGHT, COMPASS_HEIGHT = 590, 120
COMPASS_HEADING = f"Sound of the panorama: from where, over time ({RANGE_DB:g} dB from black to bright)"
GENERATED_HEADING = "Generated sound: from where, over time"
PAPER, INK, PALE, GRID = (255, 255, 255), (28, 28, 34), (110, 110, 120), (214, 214, 220)
DB_RANGE = 65.0
# This far below the loudest place of all panels is silence.
AUDIBLE_DB = 45.0
HZ_TICKS = (0, 250, 500, 1000, 2000, 4000, 8000)
# Least difference between two smoothed spectrograms.
DIFFERENCE_DB = 6.0
# Lowest end of the spectrograms' scale, so that silence is dark.
QUIET_DB = -30.0
STRIP_FRAMES = 4


@dataclass(frozen=True)
class LookingView:
    """A view with its name and colour in the picture."""

    name: str
    track: ViewTrack
    colour: Colour = VIEW_COLOURS[0]


@dataclass(frozen=True)
class Panel:
    """A clip below the panorama: some of its frames, and its spectrogram.

    Args:
        louder_than: sound to compare with; places where this clip is louder are outlined.
        note: a line under the spectrogram.
    """

    title: str
    clip: ViewpointClip
    colour: Colour = INK
    note: str = ""
    louder_than: Sound | None = None


@dataclass(frozen=True)
class Mark:
    """A cross on the panorama with a text beside it."""

    yaw_deg: float
    pitch_deg: float
    text: str


@dataclass(frozen=True)
class Band:
    """A range of frequencies to point out in each spectrogram."""

    low_hz: float
    high_hz: float


def conditions_figure(
    clip: PanoramaClip,
    saliency: SaliencyMaps,
    found: Sequence[Viewpoint],
    views: Sequence[LookingView],
    caption: SceneCaption,
    panels: Sequence[Panel],
    *,
    marks: Sequence[Mark] = (),
    band: Band | None = None,
    remarks: Sequence[str] = (),
    sounds: Sequence[SoundMark] = (),
    generated: Sound | None = None,
) -> Image.Image:
    """Draw the conditions of one or more generations, and their results.

    Under a panorama with Ambisonic sound stands its compass: from where it sounds, over time. That of the generated
    sound stands below.

    Args:
        clip: the panorama; its middle frame is shown.
        saliency: drawn as heat, averaged over time.
        found: ranked viewpoints; each region's centroid and box are drawn.
        views: the views that were generated; outline and BASD contours are drawn.
        caption: shown as text.
        panels: one to three clips, side by side.
        marks, band: points and a range of frequencies to draw attention to.
        remarks: sentences below the caption.
        sounds: sources by name and direction.
        generated: the generated sound as Ambisonics, where its directions are known.

    Returns:
        An RGB picture.
    """
    lines = _side_text(saliency, found, views, caption, remarks)
    top = MARGIN + 34
    known = clip.sound if clip.sound is not None and clip.sound.layout == "ambix" else None
    compasses = [(COMPASS_HEADING, known), (GENERATED_HEADING, generated)]
    drawn = [(heading, sound) for heading, sound in compasses if sound is not None]
    compass_y, each = top + PANORAMA_HEIGHT + 62, 24 + COMPASS_HEIGHT + 44
    rows_y = compass_y + each * len(drawn)
    column = (WIDTH - 2 * MARGIN - 28 * (len(panels) - 1)) / max(1, len(panels))
    note_height = 56 if any(panel.note for panel in panels) else 14
    panel_height = round((column - 18) / STRIP_FRAMES) + 260 + note_height if panels else 0
    image = Image.new("RGB", (WIDTH, rows_y + panel_height + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    heading = f"{clip.source or 'panorama'}, {clip.num_frames / clip.fps:g} s from {clip.start_s:g} s"
    draw.text((MARGIN, MARGIN - 8), heading, INK, font(24))
    picture = _panorama_picture(clip, saliency, found, views, marks, sounds)
    at = (MARGIN + 44, top)
    image.paste(picture, at)
    _panorama_axes(draw, at, picture.size)
    _write_side(draw, lines, (at[0] + picture.width + 28, top))
    for y, (text, sound) in zip(range(compass_y, rows_y, each), drawn, strict=True):
        draw.text((at[0], y - 2), text, INK, font(18))
        draw_compass(image, draw, sound, (at[0], y + 24), (picture.width, COMPASS_HEIGHT), sounds)
    for i, panel in enumerate(panels):
        _draw_panel(image, draw, panel, (round(MARGIN + i * (column + 28)), rows_y), round(column), band, panels)
    return image


def write_figure(path: str | os.PathLike, figure: Image.Image) -> None:
    """Write a picture as PNG: to a temporary name, then renamed."""
    with atomic_path(path) as temporary:
        figure.save(temporary, format="PNG")


def _panorama_picture(
    clip: PanoramaClip, saliency: SaliencyMaps, found: Sequence[Viewpoint], views: Sequence[LookingView],
    marks: Sequence[Mark], sounds: Sequence[SoundMark],
) -> Image.Image:  # fmt: skip
    height = PANORAMA_HEIGHT * OVERSAMPLING
    overlay = heat_overlay(clip.frames[clip.num_frames // 2], saliency.maps.mean(0), height)
    for view in views:
        draw_basd(overlay, view.track.views[0], view.colour, view.track.aspect)
    image = Image.fromarray(overlay)
    draw = ImageDraw.Draw(image)
    for view in views:
        _draw_view(draw, view, height)
    for _, region in _regions(found):
        draw_curve(draw, box_outline(region), height, (255, 255, 255), 1.6, closed=True)
    image = image.resize((2 * PANORAMA_HEIGHT, PANORAMA_HEIGHT), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _draw_mark(draw, mark, image.size)
    for rank, region in _regions(found):
        _draw_number(draw, rank, region)
    for sound in sounds:
        draw_sound_mark(draw, sound, image.size)
    return image


def _regions(found: Iterable[Viewpoint]) -> list[tuple[int, Region]]:
    """List (rank, region) of each viewpoint that has a region."""
    return [(viewpoint.rank, viewpoint.region) for viewpoint in found if viewpoint.region is not None]


def _draw_view(draw: Canvas, view: LookingView, height: int) -> None:
    first, last = (fov_outline(view.track.views[i], dtype=torch.float64, aspect=view.track.aspect) for i in (0, -1))
    draw_curve(draw, first, height, view.colour, 4.0, closed=True)
    if not view.track.is_still:
        draw_curve(draw, last, height, view.colour, 1.5, closed=True)
        centres = torch.stack([directions(v.yaw_deg, v.pitch_deg, dtype=torch.float64) for v in view.track.views])
        draw_curve(draw, centres, height, view.colour, 3.0)


def _draw_number(draw: Canvas, rank: int, region: Region) -> None:
    width = 2 * PANORAMA_HEIGHT
    middle, y = on_map(region.yaw_deg, region.pitch_deg, (width, PANORAMA_HEIGHT))
    for x in (middle - width, middle, middle + width):  # near the seam it shows on both sides
        draw.ellipse((x - 13, y - 13, x + 13, y + 13), (255, 255, 255), (0, 0, 0), 2)
        draw.text((x, y), str(rank), (0, 0, 0), font(18), anchor="mm")


def _draw_mark(draw: Canvas, mark: Mark, size: tuple[int, int]) -> None:
    x, y = on_map(mark.yaw_deg, mark.pitch_deg, size)
    reach = 46
    for colour, width in (((0, 0, 0), 5), ((255, 255, 255), 3)):
        draw.line((x - reach, y - reach, x + reach, y + reach), colour, width)
        draw.line((x - reach, y + reach, x + reach, y - reach), colour, width)
    half = font(17).getlength(mark.text) / 2 + 6
    x = min(max(x, half), size[0] - half)
    draw.rounded_rectangle((x - half, y + reach + 4, x + half, y + reach + 30), 6, (255, 255, 255))
    draw.text((x, y + reach + 17), mark.text, INK, font(17), anchor="mm")


def _panorama_axes(draw: Canvas, at: tuple[int, int], size: tuple[int, int]) -> None:
    for yaw in range(-180, 181, 45):
        x, y = at[0] + on_map(yaw, 0, size)[0], at[1] + size[1]
        draw.line((x, y, x, y + 6), PALE, 1)
        draw.text((x, y + 9), f"{yaw}°", PALE, font(15), anchor="ma")
    for pitch in range(-90, 91, 45):
        left, row = at[0], at[1] + on_map(0, pitch, size)[1]
        draw.line((left - 6, row, left, row), PALE, 1)
        draw.text((left - 9, row), f"{pitch}°", PALE, font(15), anchor="rm")
    middle = (at[0] + size[0] / 2, at[1] + size[1] + 29)
    draw.text(middle, "yaw (left and right), pitch (up and down)", PALE, font(15), anchor="ma")


# Text -----------------------------------------------------------------------------------------------------------------


def wrap_text(text: str, width_px: float, size: int) -> list[str]:
    """Break a text into lines of a width in pixels; a wider word is broken too."""
    letters, lines, line = font(size), [], ""
    for word in text.split():
        joined = f"{line} {word}".strip()
        if letters.getlength(joined) <= width_px:
            line = joined
            continue
        lines += [line] if line else []
        while letters.getlength(word) > width_px and len(word) > 1:
            fits = max(1, next(n for n in range(len(word), -1, -1) if letters.getlength(word[:n]) <= width_px))
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def _degrees(angle: float) -> str:
    return f"{round(angle)}°"


def _side_text(
    saliency: SaliencyMaps, found: Sequence[Viewpoint], views: Sequence[LookingView], caption: SceneCaption,
    remarks: Sequence[str],
) -> list[tuple[str, str, Colour]]:  # fmt: skip
    """List (kind, text, colour) of each item beside the panorama."""
    items = [("head", "Saliency", INK), ("text", f"{saliency.method}, mean over time:", INK), ("heat", "", INK)]
    items += [("head", "Found: place, box, share of saliency", INK)]
    for viewpoint in found:
        region = viewpoint.region
        if region is None:
            items.append(("text", "nothing stands out: the view looks to the front", INK))
        else:
            where = f"yaw {_degrees(region.yaw_deg)}, pitch {_degrees(region.pitch_deg)}"
            box = f"{_degrees(region.width_deg)} x {_degrees(region.height_deg)}"
            items.append(("text", f"{viewpoint.rank}: {where}, {box}, {100 * region.mass:.0f} %", INK))
    items.append(("head", "Views", INK))
    for view in views:
        first = view.track.views[0]
        moves = "" if view.track.is_still else ", following"
        angles_ = f"yaw {_degrees(first.yaw_deg)}, pitch {_degrees(first.pitch_deg)}, FoV {_degrees(first.fov_deg)}"
        items.append(("key", f"{view.name}: {angles_}{moves}", view.colour))
    items.append(("text", f"thin lines: BASD every {BASD_STEP_DEG:g}°, brighter inside", PALE))
    items += [("head", f"Caption ({caption.origin})", INK), ("text", caption.short or caption.long, INK)]
    return items + ([("head", "How to read it", INK)] if remarks else []) + [("text", text, INK) for text in remarks]


def _write_side(draw: Canvas, items: Iterable[tuple[str, str, Colour]], at: tuple[int, int]) -> None:
    x, y = at
    width, bottom = WIDTH - MARGIN - x, y + PANORAMA_HEIGHT + 40
    for kind, text, colour in items:
        y += 12 if kind == "head" and y > at[1] else 0
        indent = 30 if kind == "key" else 0
        if kind == "heat":
            _draw_heat_scale(draw, x, y)
            y += 30
        if kind == "key":
            draw.rectangle((x, y + 6, x + 20, y + 13), colour, INK)
        for line in wrap_text(text, width - indent, 18 if kind == "head" else 17):
            if y > bottom:  # a caption longer than the column ends in an ellipsis
                draw.text((x, y), "…", INK, font(17))
                return
            draw.text((x + indent, y), line, PALE if kind == "head" else INK, font(18 if kind == "head" else 17))
            y += 24


def _draw_heat_scale(draw: Canvas, x: int, y: int) -> None:
    colours = heat_colours(np.linspace(0, 1, 160, dtype=np.float32)[None])[0]
    for i, colour in enumerate(colours):
        draw.line((x + 18 + i, y + 5, x + 18 + i, y + 19), tuple(int(c) for c in colour), 1)
    draw.text((x, y + 12), "0", INK, font(15), anchor="lm")
    draw.text((x + 184, y + 12), "1", INK, font(15), anchor="lm")


# Sound ----------------------------------------------------------------------------------------------------------------


def mel_db(sound: Sound) -> np.ndarray:
    """Compute a sound's log-mel spectrogram in decibels, `[64 bands, frames]`, as the model sees it (mono, 16 kHz)."""
    waveform = resample(to_mono(sound), SAMPLE_RATE_HZ).waveform
    return log_mel(waveform)[0].T.numpy() * (20.0 / math.log(10.0))


def louder(here: np.ndarray, there: np.ndarray, floor_db: float) -> np.ndarray:
    """Mark where one spectrogram is clearly louder than another: `[bands, frames]` bool.

    Differences are smoothed over about three bands and frames; levels below `floor_db` count as silence.
    """
    frames = min(here.shape[1], there.shape[1])
    a, b = (np.maximum(db[:, :frames], floor_db).astype(np.float32) for db in (here, there))
    return cv2.GaussianBlur(a - b, (0, 0), 1.5) > DIFFERENCE_DB


def _mel_row(hz: float) -> float:
    """Map a frequency to the mel axis, 0 to 1. Slaney's scale: linear to 1 kHz, logarithmic above."""

    def mel(f: float) -> float:
        return f * 3 / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    return mel(hz) / mel(MEL_MAX_HZ)


def _draw_panel(
    image: Image.Image, draw: Canvas, panel: Panel, at: tuple[int, int], width: int, band: Band | None,
    panels: Sequence[Panel],
) -> None:  # fmt: skip
    x, y = at
    draw.rectangle((x, y + 5, x + 14, y + 19), panel.colour)
    draw.text((x + 24, y), panel.title, INK, font(20))
    side = (width - 6 * (STRIP_FRAMES - 1)) // STRIP_FRAMES
    for i, index in enumerate(np.linspace(0, len(panel.clip.frames) - 1, STRIP_FRAMES).round().astype(int)):
        frame = Image.fromarray(to_uint8(panel.clip.frames[index])).resize((side, side), Image.Resampling.BICUBIC)
        image.paste(frame, (x + i * (side + 6), y + 34))
    # One scale for all panels, so that they can be compared.
    top_db = max(QUIET_DB, *(float(mel_db(p.clip.sound).max()) for p in panels))
    area = (x + 62, y + 34 + side + 16, x + width - 12, y + 34 + side + 16 + 190)
    _draw_spectrogram(image, draw, panel, area, top_db, band)
    for i, line in enumerate(wrap_text(panel.note, width, 16)[:2]):
        draw.text((x, area[3] + 34 + 21 * i), line, INK, font(16))


def _draw_spectrogram(
    image: Image.Image, draw: Canvas, panel: Panel, area: tuple[int, int, int, int], top_db: float, band: Band | None
) -> None:  # fmt: skip
    left, top, right, bottom = area
    size = (right - left, bottom - top)
    db = mel_db(panel.clip.sound)
    level = ((db - top_db + DB_RANGE) / DB_RANGE).clip(0, 1)
    colours = cv2.applyColorMap((255 * level[::-1]).astype(np.uint8), cv2.COLORMAP_MAGMA)
    colours = np.ascontiguousarray(cv2.resize(colours, size, interpolation=cv2.INTER_LINEAR)[..., ::-1])
    if panel.louder_than is not None:
        mask = louder(db, mel_db(panel.louder_than), top_db - AUDIBLE_DB)[::-1].astype(np.uint8)
        mask = cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST)
        edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(colours, edges, -1, (90, 255, 140), 1, cv2.LINE_AA)
    image.paste(Image.fromarray(colours), (left, top))
    for hz in HZ_TICKS:
        y = bottom - _mel_row(hz) * size[1]
        draw.line((left - 5, y, left, y), PALE, 1)
        text = f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz"
        draw.text((left - 8, y), text, PALE, font(13), anchor="rm")
    seconds = panel.clip.sound.duration_s
    for i in range(5):
        x = left + i / 4 * size[0]
        draw.line((x, bottom, x, bottom + 5), PALE, 1)
        text, anchor = (f"{seconds:g} s", "ra") if i == 4 else (f"{seconds * i / 4:g}", "ma")
        draw.text((x, bottom + 8), text, PALE, font(13), anchor=anchor)
    if band is not None:
        low, high = (bottom - _mel_row(hz) * size[1] for hz in (band.low_hz, band.high_hz))
        draw.line((right + 3, low, right + 8, low, right + 8, high, right + 3, high), INK, 2)
