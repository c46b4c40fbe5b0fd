"""Networks that tell when a picture sounds: pictures at 15 fps, views, times, and what cannot be read."""

from __future__ import annotations

import pytest
import torch
from synthetic_clips import write_video

from con360.cli import main
from con360.errors import InputError
from con360.geometry.erp import erp_directions
from con360.media.info import probe
from con360.media.reader import PanoramaStream
from con360.models.envelope_networks import PictureEnvelope, Video2Rms
from con360.models.onset_network import OnsetNetwork
from con360.placing.picture_networks import (
    envelope_of_picture,
    onsets_of_frames,
    onsets_of_logits,
    onsets_of_picture,
)
from con360.records import PanoramaClip, View, ViewTrack
from con360.saliency.region_motion import region_motion
from con360.scenes import Performer, Scene
from con360.sound.onsets import check_onsets
from con360.sound.time_tracks import time_track_from_text
from con360.weights.time_networks import save_picture_envelope


class Watcher:
    """Stands for the network: keeps what it is shown; a bright picture has an onset."""

    panorama_rows, read = OnsetNetwork.panorama_rows, OnsetNetwork.read

    def __init__(self) -> None:
        self.seen = []

    def logits(self, frames):
        self.seen.append(frames)
        return 8 * (frames.mean((1, 2, 3)) - 0.5) + 0.5


def numbered(count: int, fps: float) -> PanoramaClip:
    """A clip whose frame i is grey of i / count."""
    frames = (torch.arange(count) / count).view(-1, 1, 1, 1).expand(-1, 3, 32, 64)
    return PanoramaClip(frames, fps)


@pytest.mark.parametrize(("fps", "wanted"), [(15, [0, 1, 2, 3]), (30, [0, 2, 4, 6]), (25, [0, 1, 3, 5])])
def test_frames_are_chosen_and_never_repeated(fps, wanted):
    watcher, clip = Watcher(), numbered(50, fps)
    track = onsets_of_picture(clip, View(0), watcher)
    shown = [round(float(frame.mean()) * 50) for frame in torch.cat(watcher.seen)]
    assert shown[:4] == wanted and len(set(shown)) == len(shown) == round(50 / fps * 15)
    assert {len(piece) for piece in watcher.seen[:-1]} <= {30} and watcher.seen[0].shape[1:] == (3, 112, 112)
    assert track.source == "picture" and track.duration_s == pytest.approx(50 / fps, abs=0.034)
    check_onsets(track)


def test_a_file_is_read_as_a_clip_is(tmp_path):
    path = write_video(tmp_path / "a.mp4", [i / 30 for i in range(90)])
    stream, watcher = PanoramaStream(probe(path)), Watcher()
    onsets_of_picture(stream, View(0, fov_deg=120), watcher, start_s=0.5, stop_s=2.5)
    assert [len(piece) for piece in watcher.seen] == [30]

    class Numbers(PictureEnvelope):
        def envelope(self, motion):
            self.rows = len(motion)
            return super().envelope(motion)

    network = Numbers(8)
    envelope = envelope_of_picture(PanoramaStream(probe(path)), View(0), network)
    assert network.rows == 45 and len(envelope.values) == 375
    with pytest.raises(InputError, match="choose an earlier start"):
        onsets_of_picture(PanoramaStream(probe(path)), View(0), watcher, start_s=9)


def test_onsets_stand_in_the_middle_of_surest_frames():
    logits = torch.tensor([-3.0, 0.4, 2.0, 3.0, 0.6, -1.0, 0.9])
    thinned = onsets_of_logits(logits)
    assert thinned.times_s == pytest.approx((3.5 / 15, 6.5 / 15)) and thinned.duration_s == pytest.approx(7 / 15)
    assert thinned.strengths == pytest.approx((0.9526, 0.7109), abs=1e-4)
    published = onsets_of_logits(logits, least_gap_s=0)
    assert [round(t * 15 - 0.5) for t in published.times_s] == [2, 3, 4, 6]
    assert onsets_of_logits(torch.full((3,), float("nan"))).times_s == ()


def test_a_view_follows_its_track():
    scene = Scene((Performer("red", "disc", "beep", 90.0),))
    clip = PanoramaClip(scene.render(erp_directions(64), 0.0).expand(30, -1, -1, -1), 30.0)
    there, away = (ViewTrack(tuple(View(yaw, fov_deg=40) for _ in range(30))) for yaw in (90.0, -90.0))
    watcher = Watcher()
    for track in (there, away):
        onsets_of_picture(clip, track, watcher)
    red = [float(piece[:, 0].mean() - piece[:, 1].mean()) for piece in watcher.seen]
    assert red[0] > 0.15 > 0.0 > red[1]


def test_ordinary_frames_are_squeezed_whole():
    watcher = Watcher()
    frames = torch.zeros(30, 3, 24, 32)
    frames[15:] = 1.0
    assert onsets_of_frames(frames, watcher, 30.0).times_s[0] == pytest.approx(8.5 / 15)
    assert watcher.seen[0].shape == (15, 3, 112, 112)


def test_powers_of_regions_add_up():
    clip = numbered(30, 15)
    network = PictureEnvelope(8)
    one = envelope_of_picture(clip, View(0), network).values
    two = envelope_of_picture(clip, [View(0), View(0)], network).values
    assert two.tolist() == pytest.approx((one * 2**0.5).tolist(), abs=1e-6)


def test_motion_keeps_its_sign():
    rays = erp_directions(64)
    scene = Scene((Performer("red", "disc", "beep", 40.0),))
    frames = torch.stack([scene.render(rays, t / 15) for t in range(30)])
    motion = region_motion(frames, View(40.0))
    # Two beeps a second, each of a quarter of a second: what stands out grows twice and shrinks twice.
    large = motion[:, 0] > (motion[:, 0].max() + motion[:, 0].min()) / 2
    assert int((large[1:] & ~large[:-1]).sum()) + int(large[0]) == 4
    assert motion[:, 1].mean() > 0.6 > 0.3 > motion[:, 2].mean()
    assert float(region_motion(frames, View(-140.0))[:, 0].max()) < 0.05 * float(motion[:, 0].max())


def test_what_cannot_be_read_is_named():
    watcher = Watcher()
    for call, says in (
        (lambda: onsets_of_picture(numbered(32, 8), View(0), watcher), "come at 8 a second"),
        (lambda: onsets_of_frames(torch.zeros(9, 3, 8, 8), watcher, 12.5), "come at 12.5 a second"),
        (lambda: onsets_of_picture(numbered(30, 15), ViewTrack.still(View(0), 7), watcher), "7 views came for 30"),
        (lambda: envelope_of_picture(numbered(30, 15), [], PictureEnvelope(8)), "no region"),
    ):
        with pytest.raises(InputError, match=says):
            call()
    with pytest.raises(KeyboardInterrupt):
        onsets_of_picture(numbered(30, 15), View(0), watcher, progress=_stop)


def test_the_command_drafts_a_track_by_a_network(tmp_path, monkeypatch, capsys):
    clip = write_video(tmp_path / "a.mp4", [i / 30 for i in range(60)])
    file = tmp_path / "envelope.safetensors"
    save_picture_envelope(PictureEnvelope(8), file)
    ask = ["when", str(clip), "--from", "picture", "--duration", "1.5", "--yaw", "20", "--network", str(file)]
    assert main([*ask, "-o", str(tmp_path / "level.json")]) == 0
    assert "procedural scenes alone" in capsys.readouterr().err
    found = time_track_from_text((tmp_path / "level.json").read_text())
    assert found.onsets is None and found.envelope is not None
    monkeypatch.setattr(OnsetNetwork, "logits", lambda self, frames: frames.mean((1, 2, 3)) * 0 + 1)
    with torch.device("meta"):
        shapes = OnsetNetwork().state_dict()
    state = {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in shapes.items()}
    torch.save({"state_dict": state}, tmp_path / "onsets.ckpt")
    assert main([*ask[:-1], str(tmp_path / "onsets.ckpt"), "-o", str(tmp_path / "hits.json")]) == 0
    assert "drumsticks" in capsys.readouterr().err
    hits = time_track_from_text((tmp_path / "hits.json").read_text()).onsets
    assert hits.times_s[:2] == pytest.approx((0.5 / 15, 2.5 / 15), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--network", "a.ckpt"], "--network look at the picture"),
        (["--from", "picture", "--region", "1", "--network", "a.ckpt"], "instead of --region"),
        (["--from", "picture", "--network", "{clip}"], "cannot be read"),
        (["--from", "picture", "--network", "{folder}/rms.pt"], "is Video2RMS of Video-Foley; wanted"),
    ],
)
def test_networks_that_cannot_watch_are_named(tmp_path, capsys, words, says):
    clip = write_video(tmp_path / "a.mp4", [i / 30 for i in range(30)])
    torch.save(Video2Rms(8, 4, 4).state_dict(), tmp_path / "rms.pt")
    words = [word.format(clip=clip, folder=tmp_path) for word in words]
    assert main(["when", str(clip), "-o", str(tmp_path / "t.json"), *words]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "t.json").exists()


def _stop(done: int, total: int, what: str) -> None:
    raise KeyboardInterrupt
