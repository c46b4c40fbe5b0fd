"""Time tracks painted on saliency maps."""

from __future__ import annotations

import pytest
import torch

from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.geometry.sphere import directions
from con360.records import Envelope, OnsetTrack, SaliencyMaps, SourcePoint, SourceTrack, TimeTrack
from con360.saliency.painting import paint_track, pulse_of
from con360.scenes import VOICES, Performer, Scene, voice_envelope
from con360.timing import ClipSpec

FPS, SPEC = 8.0, ClipSpec(2.0)
TRACK = TimeTrack(OnsetTrack((0.5, 1.25)), decay_s=0.1)


def mass(maps: torch.Tensor, yaw: float, reach_deg: float = 30.0) -> torch.Tensor:
    near = erp_directions(maps.shape[-2]) @ directions(yaw, 0.0).float() > torch.cos(torch.tensor(reach_deg).deg2rad())
    return (maps * near).sum((1, 2))


def saliency() -> SaliencyMaps:
    scene = Scene((Performer("red", "disc", "hum", -60.0), Performer("blue", "ring", "tick", 70.0)))
    return scene.saliency(32, SPEC)


def test_the_spot_pulses_with_the_track_and_the_rest_stays():
    before = saliency()
    after = paint_track(before, SourcePoint(70.0), TRACK, FPS)
    pulses = mass(after.maps, 70.0)
    assert [i for i in range(1, 15) if pulses[i - 1] < pulses[i] > pulses[i + 1]] == [4, 10]
    assert after.maps.amax((1, 2)).allclose(torch.ones(16)) and after.method == before.method
    far = mass(after.maps, -60.0) / mass(before.maps, -60.0)
    assert far.max() / far.min() < 1.8, "but for the scale of each frame's maximum"
    quiet = mass(paint_track(before, SourcePoint(70.0), TimeTrack(OnsetTrack((1.9,))), FPS).maps, 70.0)
    assert quiet[0] < 0.7 * pulses.max()


def test_a_moving_source_is_painted_on_its_way():
    path = SourceTrack((0.0, 2.0), (SourcePoint(170.0), SourcePoint(-170.0)))
    flat = SaliencyMaps(torch.zeros(16, 32, 64), "given")
    maps = paint_track(flat, path, TRACK, FPS).maps
    columns = maps.sum(1).argmax(1)
    assert columns[0] > 58 and columns[-1] < 6


def test_a_scenes_own_pulse_is_painted_as_the_scene_shows_it():
    scene = Scene((Performer("red", "disc", "hum", 20.0), Performer("blue", "ring", "beep", -90.0)))
    times = (torch.arange(250) + 0.5) / 125
    curve = torch.from_numpy(voice_envelope("hum", times.numpy(), 0.0)).float()
    true = scene.saliency(32, SPEC)
    painted = paint_track(true, SourcePoint(20.0), TimeTrack(envelope=Envelope(curve)), FPS)
    assert VOICES["hum"].rate_hz == 1.0 and (painted.maps - true.maps).abs().max() < 0.25


def test_a_short_onset_between_frames_is_kept():
    values = torch.zeros(250)
    values[57] = 0.3  # 0.46 s lies nearest to frame 4
    pulse = pulse_of(Envelope(values), FPS, 16)
    assert pulse.nonzero().flatten().tolist() == [4] and pulse[4] == 1
    assert pulse_of(Envelope(torch.zeros(250)), FPS, 16).max() == 0


def test_what_cannot_be_painted_is_named():
    with pytest.raises(InputError, match="radius"):
        paint_track(saliency(), SourcePoint(0.0), TRACK, FPS, radius_deg=float("nan"))
    with pytest.raises(InputError, match="3 s"):
        paint_track(saliency(), SourcePoint(0.0), TimeTrack(OnsetTrack((3.0,))), FPS)
