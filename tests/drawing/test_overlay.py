"""Conditions drawn onto the panorama: where lines and heat fall, seam included, and what is refused."""

from __future__ import annotations

import pytest
import torch

from con360.drawing import panorama
from con360.drawing.overlay import draw_overlay
from con360.drawing.panorama import VIEW_COLOURS
from con360.errors import InputError
from con360.records import SaliencyMaps, View, ViewTrack
from con360.viewpoint.basd import basd_map

H = 64
GREY = torch.full((2, 3, H, 2 * H), 0.5)
PINK = torch.tensor(VIEW_COLOURS[0]) / 255.0


def pinkness(picture: torch.Tensor, yaw: float, pitch: float) -> float:
    """Compare the colour around a direction with that of the view's outline: 1 is equal."""
    x, y = round((yaw / 360 + 0.5) * 2 * H - 0.5), round((0.5 - pitch / 180) * H - 0.5)
    near = picture[:, max(0, y - 1) : y + 2, [(x + d) % (2 * H) for d in (-1, 0, 1)]]
    return 1 - (near - PINK[:, None, None]).abs().mean(0).min().item()


@pytest.mark.parametrize("yaw", [0.0, 180.0, -135.0])
def test_the_outline_lies_on_the_views_true_edges(yaw: float) -> None:
    picture = draw_overlay(GREY, track=ViewTrack.still(View(yaw, 0.0, 90.0), 2), basd=False)[0]
    wrapped = (yaw + 225) % 360 - 180, (yaw + 135) % 360 - 180
    for edge, pitch in [(wrapped[0], 0), (wrapped[1], 0), (wrapped[0], 34), (yaw, 44)]:
        # The corner of a 90 degree view stands at 35.3 degrees, the middle of its upper edge at 45.
        assert pinkness(picture, edge, pitch) > 0.9, (edge, pitch)
    assert torch.allclose(picture[:, H // 2, round((yaw / 360 + 0.5) * 2 * H) % (2 * H)], torch.tensor(0.5), atol=0.01)


def test_each_frame_gets_its_own_view_and_map() -> None:
    maps = torch.zeros(2, H, 2 * H)
    maps[1, :, H:] = 1.0
    drawn = draw_overlay(GREY, SaliencyMaps(maps, "test"), ViewTrack((View(0.0), View(180.0))), basd=False)
    assert pinkness(drawn[0], 45, 0) > 0.9 > pinkness(drawn[1], 45, 0)
    hot, cold = drawn[1][:, 5, -20], drawn[0][:, 5, -20]
    assert hot[0] - hot[2] > 0.3 and abs(cold[0] - cold[2]) < 0.02


def test_basd_lines_are_drawn_around_the_view_on_request() -> None:
    track = ViewTrack.still(View(0.0), 2)
    changed = [(draw_overlay(GREY, track=track, basd=basd)[0] - 0.5).abs().amax(0) > 0.05 for basd in (False, True)]
    assert changed[1].sum() > 1.5 * changed[0].sum()


def test_nothing_to_draw_leaves_the_picture_unchanged() -> None:
    assert torch.allclose(draw_overlay(GREY), GREY, atol=1 / 255)


def test_a_cancel_during_drawing_is_passed_on() -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_overlay(GREY, progress=stop)


def test_counts_that_differ_from_the_frames_are_refused() -> None:
    with pytest.raises(InputError, match="3 saliency maps for 2 frames"):
        draw_overlay(GREY, SaliencyMaps(torch.zeros(3, H, 2 * H), "test"))
    with pytest.raises(InputError, match="1 views for 2 frames"):
        draw_overlay(GREY, track=ViewTrack.still(View(0.0), 1))


def test_the_lines_of_a_still_view_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding them takes ten times as long as drawing them."""
    found: list[View] = []
    monkeypatch.setattr(panorama, "basd_map", lambda view, *rest: found.append(view) or basd_map(view, *rest))
    panorama._basd_lines.cache_clear()
    frames = GREY[:1].expand(4, -1, -1, -1)
    still = draw_overlay(frames, track=ViewTrack.still(View(10.0, 5.0, 80.0), 4))
    assert len(found) == 1
    assert (still == still[0]).all() and (still[0] != GREY[0]).any()
    draw_overlay(GREY, track=ViewTrack((View(10.0, 5.0, 80.0), View(11.0, 5.0, 80.0))))
    assert len(found) == 2
