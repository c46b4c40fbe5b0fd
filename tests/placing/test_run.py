"""Sounds placed in a field, and on a clip whose own sound they join."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_clips import noise, write_video

from con360.errors import InputError
from con360.geometry.sphere import angle_between_deg, directions
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.sound_coders import AAC_PEAK
from con360.media.writer import write_wav
from con360.placing.run import PlaceSettings, place_alone, place_on_clip
from con360.placing.sources import Finding, Following, Panned, PlacedSound
from con360.records import Sound, SourcePoint, SourceTrack
from con360.reframing.aim import Follow
from con360.reframing.run import ReframeSettings, reframe
from con360.sound.ambisonics import encode
from con360.sound.peaks import true_peak

RATE = 16000


def voice(path: Path, seconds: float = 1.0, *, rate: int = RATE, channels: int = 1, seed: int = 1) -> Path:
    """Write band-limited noise; every coder keeps it."""
    raw = np.random.default_rng(seed).standard_normal((channels, round(seconds * rate)))
    smooth = np.stack([np.convolve(one, np.ones(16) / 16, "same") for one in raw])
    layout = {1: "mono", 2: "stereo"}.get(channels, "other")
    write_wav(path, Sound(torch.from_numpy(0.3 * smooth).float(), rate, layout))
    return path


def direction(sound: Sound, start_s: float = 0.0, stop_s: float = math.inf) -> tuple[float, float]:
    """Yaw and pitch that the intensity points to."""
    stop = None if stop_s == math.inf else round(stop_s * sound.sample_rate_hz)
    w, y, z, x = sound.waveform[:4, round(start_s * sound.sample_rate_hz) : stop].double()
    left, up, front = (w * y).sum(), (w * z).sum(), (w * x).sum()
    return -math.degrees(math.atan2(left, front)), math.degrees(math.atan2(up, math.hypot(left, front)))


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Make a clip of two seconds with this sound."""

    def make(sound: np.ndarray | None = None, **options: object) -> Path:
        return write_video(tmp_path / "clip.mp4", [i / 10 for i in range(20)], sound=sound, rate_hz=RATE, **options)

    return make


# Fields ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_field_holds_each_sound_at_its_place(tmp_path: Path, order: int) -> None:
    first = PlacedSound(voice(tmp_path / "a.wav"), SourcePoint(90.0, 20.0))
    second = PlacedSound(voice(tmp_path / "b.wav", rate=8000), SourcePoint(-40.0, -10.0), start_s=1.25)
    made = place_alone([first, second], tmp_path / "field.wav", PlaceSettings(order=order))
    sound, _ = read_sound(tmp_path / "field.wav")
    assert sound.waveform.shape == ((order + 1) ** 2, round(2.25 * RATE)) and sound.ambisonic_order == order
    assert direction(sound, 0, 1.0) == pytest.approx((90, 20), abs=0.2)
    assert direction(sound, 1.3) == pytest.approx((-40, -10), abs=0.2)
    assert not sound.waveform[:, RATE + 10 : round(1.24 * RATE)].any()
    assert (made.order, made.sample_rate_hz, made.notices) == (order, RATE, ())


def test_a_track_moves_in_seconds_of_the_result(tmp_path: Path) -> None:
    track = SourceTrack((0.5, 1.5), (SourcePoint(170.0), SourcePoint(-170.0)))
    made = place_alone([PlacedSound(voice(tmp_path / "a.wav", 2), track)], tmp_path / "field.wav")
    sound, _ = read_sound(tmp_path / "field.wav")
    for time_s, yaw in ((0.2, 170), (0.75, 175), (1.25, -175), (1.8, -170)):
        found = direction(sound, time_s - 0.02, time_s + 0.02)
        assert abs((found[0] - yaw + 180) % 360 - 180) < 0.5
    assert made.tracks == (track,)


@pytest.mark.parametrize(("last_s", "words"), [(1.0, "stays at its last place from 1.00 s"), (9.0, "rest of its path")])
def test_paths_of_another_length_are_said(tmp_path: Path, last_s: float, words: str) -> None:
    track = SourceTrack((0.0, last_s), (SourcePoint(0.0), SourcePoint(10.0)))
    made = place_alone([PlacedSound(voice(tmp_path / "a.wav", 3), track)], tmp_path / "field.wav")
    (notice,) = made.notices
    assert words in notice and notice.startswith("Sound a.wav")


def test_stereo_is_one_source_or_goes_by_its_panning(tmp_path: Path) -> None:
    mono, _ = read_sound(voice(tmp_path / "a.wav"))
    panned = mono.waveform * torch.tensor([[1.0], [0.25]])
    write_wav(tmp_path / "s.wav", Sound(panned, RATE, "stereo"))
    made = place_alone([PlacedSound(tmp_path / "s.wav", SourcePoint(50.0))], tmp_path / "one.wav")
    assert "its 2 channels are mixed to one" in made.notices[0]
    assert direction(read_sound(tmp_path / "one.wav")[0])[0] == pytest.approx(50, abs=0.2)
    place_alone([PlacedSound(tmp_path / "s.wav", Panned(gain_db=-6.0))], tmp_path / "panned.wav")
    sound, _ = read_sound(tmp_path / "panned.wav")
    law = -math.degrees(math.atan(math.tan(math.radians(30)) * 0.75 / 1.25))
    assert direction(sound)[0] == pytest.approx(law, abs=1)
    power = float(sound.waveform[0].square().mean() / panned.square().mean(1).sum())
    assert 10 * math.log10(power) == pytest.approx(-6, abs=0.1)
    with pytest.raises(InputError, match="only a stereo sound"):
        place_alone([PlacedSound(tmp_path / "a.wav", Panned())], tmp_path / "x.wav")


@pytest.mark.parametrize("order", [1, 3])
def test_a_field_is_turned_so_that_its_front_lies_at_the_place(tmp_path: Path, order: int) -> None:
    mono, _ = read_sound(voice(tmp_path / "a.wav"))
    write_wav(tmp_path / "f.wav", Sound(encode(mono.waveform[0], 20.0, 0.0, order), RATE, "ambix"))
    made = place_alone([PlacedSound(tmp_path / "f.wav", SourcePoint(100.0, gain_db=-20.0))], tmp_path / "out.wav")
    sound, _ = read_sound(tmp_path / "out.wav")
    assert made.order == order and direction(sound)[0] == pytest.approx(120, abs=0.1)
    assert torch.allclose(sound.waveform[0], 0.1 * mono.waveform[0], atol=1e-6)


def test_loud_sounds_get_one_gain_and_a_notice(tmp_path: Path) -> None:
    loud = [PlacedSound(voice(tmp_path / f"{i}.wav", seed=7), SourcePoint(33.0, gain_db=20.0)) for i in range(3)]
    made = place_alone(loud, tmp_path / "field.wav")
    sound, _ = read_sound(tmp_path / "field.wav")
    assert true_peak(sound.waveform) == pytest.approx(1, abs=1e-3)
    assert direction(sound) == pytest.approx((33, 0), abs=0.1)
    assert "turned down by" in made.notices[-1] and "all channels alike" in made.notices[-1]


# Clips ----------------------------------------------------------------------------------------------------------------


def test_a_clips_own_field_is_mixed_with_the_placed_sound(tmp_path: Path, clip: Callable[..., Path]) -> None:
    own, _ = read_sound(voice(tmp_path / "own.wav", 2, seed=3))
    source = clip(encode(own.waveform[0], -90.0, 0.0).numpy(), layout="4.0")
    added = PlacedSound(voice(tmp_path / "a.wav", 0.5), SourcePoint(90.0), start_s=1.0)
    made = place_on_clip(source, [added], tmp_path / "out.mp4")
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert made.own_sound and made.duration_s == 2.0 and sound.waveform.shape == (4, 2 * RATE)
    assert direction(sound, 0.1, 0.9)[0] == pytest.approx(-90, abs=0.5)
    both = encode(own.waveform[0], -90.0, 0.0)
    voiced, _ = read_sound(tmp_path / "a.wav")
    both[:, RATE : round(1.5 * RATE)] += encode(voiced.waveform[0], 90.0, 0.0)
    error = (sound.waveform - both)[:, 1000:-1000]
    assert float(error.square().mean()) < 0.01 * float(both.square().mean())
    alone = place_on_clip(source, [added], tmp_path / "alone.mp4", PlaceSettings(own_sound=False))
    sound, _ = read_sound(tmp_path / "alone.mp4")
    assert not alone.own_sound and float(sound.waveform[:, 2000 : RATE - 2000].abs().max()) < 1e-4
    assert alone.notices[-1] == "The clip's own sound is left out."


@pytest.mark.parametrize(
    ("channels", "words"),
    [(1, "mono comes from everywhere"), (2, "30° left and right"), (0, "There is no sound track")],
)
def test_own_sound_without_directions_is_said(
    tmp_path: Path, clip: Callable[..., Path], channels: int, words: str
) -> None:
    source = clip(None if not channels else noise(channels, 2 * RATE))
    made = place_on_clip(source, [PlacedSound(voice(tmp_path / "a.wav"))], tmp_path / "out.mp4")
    assert any(words in notice for notice in made.notices)
    assert made.own_sound == bool(channels)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_are_written_as_opus(tmp_path: Path, clip: Callable[..., Path], order: int) -> None:
    added = PlacedSound(voice(tmp_path / "a.wav", 2), SourcePoint(-120.0, 30.0))
    made = place_on_clip(clip(), [added], tmp_path / "out.mp4", PlaceSettings(order=order))
    track = probe(tmp_path / "out.mp4").audio_tracks[0]
    assert (track.codec, track.channels, made.sample_rate_hz) == ("opus", (order + 1) ** 2, 48000)
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert sound.ambisonic_order == order and direction(sound) == pytest.approx((-120, 30), abs=1)
    # Placed again without a wish, the file's own order stays.
    again = place_on_clip(tmp_path / "out.mp4", [added], tmp_path / "again.mp4")
    assert again.order == order


def test_a_followed_region_gives_the_place(tmp_path: Path) -> None:
    frame = np.full((64, 128, 3), 60, np.uint8)
    frame[24:40, 88:104] = (255, 40, 20)  # yaw 90
    source = write_video(tmp_path / "in.mp4", [i / 10 for i in range(20)], pictures=[frame] * 20)
    made = place_on_clip(
        source, [PlacedSound(voice(tmp_path / "a.wav", 2), Following(1, gain_db=-3.0))], tmp_path / "out.mp4"
    )
    # A camera that follows looks there too.
    seen = reframe(source, tmp_path / "view.mp4", Follow(), ReframeSettings(size=(32, 32))).first_view
    (track,) = made.tracks
    first = track.points[0]
    assert (first.yaw_deg, first.pitch_deg) == pytest.approx((seen.yaw_deg, seen.pitch_deg))
    assert len(track.points) == 8 and first.gain_db == -3.0
    heard = directions(*direction(read_sound(tmp_path / "out.mp4")[0]))
    assert float(angle_between_deg(heard, directions(first.yaw_deg, first.pitch_deg))) < 1
    assert float(angle_between_deg(heard, directions(90.0, 0.0))) < 20


@pytest.mark.parametrize(
    ("beats", "most_moving", "placed"),
    [
        (True, False, True), pytest.param(False, False, False, marks=pytest.mark.slow),
        pytest.param(False, True, True, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_bands_go_where_their_movement_is(tmp_path: Path, beats: bool, most_moving: bool, placed: bool) -> None:
    rows, columns = np.mgrid[:64, :128]
    pulses = 0.5 + 0.5 * np.cos(2 * np.pi * 1.5 * np.arange(60) / 15)
    pictures = []
    for pulse in pulses:
        picture = np.full((64, 128, 3), 70, np.uint8)
        picture[(rows - 32) ** 2 + (columns - 96) ** 2 < (4 + 6 * pulse) ** 2] = (255, 60, 30)
        picture[(rows - 32) ** 2 + (columns - 32) ** 2 < 49] = (30, 160, 255)
        pictures.append(picture)
    source = write_video(tmp_path / "in.mp4", [i / 15 for i in range(60)], pictures=pictures)
    sound, _ = read_sound(voice(tmp_path / "a.wav", 4))
    loudness = (0.5 + 0.5 * torch.cos(2 * math.pi * 1.5 * torch.arange(4 * RATE) / RATE)) ** 2
    write_wav(tmp_path / "a.wav", Sound(sound.waveform * loudness if beats else sound.waveform, RATE))
    made = place_on_clip(source, [PlacedSound(tmp_path / "a.wav", Finding(most_moving))], tmp_path / "out.mp4")
    heard, _ = read_sound(tmp_path / "out.mp4")
    w, y, _, x = heard.waveform.double()
    vector = math.hypot(float((w * y).sum()), float((w * x).sum())) / float((w * w).sum())
    assert (vector > 0.9, vector < 0.05) == (placed, not placed)
    assert not placed or direction(heard)[0] == pytest.approx(90, abs=10)
    assert made.tracks == (None,) and made.notices[-1].startswith("Sound a.wav: ")


def test_sound_beyond_the_clips_end_is_cut_and_said(tmp_path: Path, clip: Callable[..., Path]) -> None:
    made = place_on_clip(clip(), [PlacedSound(voice(tmp_path / "a.wav", 5))], tmp_path / "out.mp4")
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert sound.waveform.shape[1] == 2 * RATE
    assert any("goes on after the clip's end at 2.00 s" in notice for notice in made.notices)


def test_a_loud_mix_stays_below_the_coders_limit(tmp_path: Path, clip: Callable[..., Path]) -> None:
    added = PlacedSound(voice(tmp_path / "a.wav", 2), SourcePoint(77.0, gain_db=30.0))
    made = place_on_clip(clip(), [added], tmp_path / "out.mp4")
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert true_peak(sound.waveform) < AAC_PEAK * 1.1 and direction(sound)[0] == pytest.approx(77, abs=0.5)
    assert "turned down by" in made.notices[-1]


# Bad input ------------------------------------------------------------------------------------------------------------


def test_silence_one_sample_and_nan_are_sentences(tmp_path: Path) -> None:
    write_wav(tmp_path / "silent.wav", Sound(torch.zeros(1, 100), RATE))
    made = place_alone([PlacedSound(tmp_path / "silent.wav")], tmp_path / "f.wav")
    assert made.notices == ("Sound silent.wav: it is silent.",)
    write_wav(tmp_path / "one.wav", Sound(torch.ones(1, 1), RATE))
    place_alone([PlacedSound(tmp_path / "one.wav"), PlacedSound(tmp_path / "silent.wav")], tmp_path / "f.wav")
    assert read_sound(tmp_path / "f.wav")[0].waveform.shape == (4, 100)
    (tmp_path / "nan.wav").write_bytes(_with_nan(tmp_path / "one.wav"))
    made = place_alone([PlacedSound(tmp_path / "nan.wav")], tmp_path / "f.wav")
    assert "1 samples of the sound are not numbers" in made.notices[0]
    assert bool(read_sound(tmp_path / "f.wav")[0].waveform.isfinite().all())


def _with_nan(path: Path) -> bytes:
    return path.read_bytes()[:-4] + np.float32(np.nan).tobytes()


@pytest.mark.parametrize("channels", [6, 16])
def test_loudspeakers_and_fields_are_sources_too(tmp_path: Path, channels: int) -> None:
    made = place_alone([PlacedSound(voice(tmp_path / "a.wav", channels=channels))], tmp_path / "f.wav")
    assert made.order == (1 if channels == 6 else 3) and made.notices


@pytest.mark.parametrize(
    ("place", "start_s", "words"),
    [
        (SourcePoint(math.nan), 0.0, "not finite"), (SourcePoint(0.0, 91.0), 0.0, "pitch of 91"),
        (SourcePoint(0.0, distance_m=0.0), 0.0, "distance of 0 m"), (Following(0), 0.0, "rank 0"),
        (SourceTrack((), ()), 0.0, "needs a time"), (SourcePoint(0.0), 2.0, "would begin at 2 s"),
        (SourcePoint(0.0), math.nan, "start of nan"), (SourcePoint(0.0, spread_deg=400.0), 0.0, "spread of 400"),
    ],
)  # fmt: skip
def test_places_that_cannot_be_used_leave_no_file(
    tmp_path: Path, clip: Callable[..., Path], place: object, start_s: float, words: str
) -> None:
    sound = PlacedSound(voice(tmp_path / "a.wav"), place, start_s)
    with pytest.raises(InputError, match=words):
        place_on_clip(clip(), [sound], tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "clip.mp4"]


def test_files_that_cannot_be_used_are_named(tmp_path: Path, clip: Callable[..., Path]) -> None:
    sound, source = PlacedSound(voice(tmp_path / "a.wav")), clip()
    for call, words in (
        (lambda: place_alone([sound], tmp_path / "out.mp4"), "does not end in .wav"),
        (lambda: place_alone([sound], tmp_path / "a.wav"), "both read and written"),
        (lambda: place_on_clip(source, [sound], source), "both read and written"),
        (lambda: place_on_clip(source, [PlacedSound(source)], tmp_path / "x.mp4"), "no sound track"),
        (lambda: place_on_clip(source, [], tmp_path / "x.mp4"), "1 to 64"),
        (lambda: place_on_clip(tmp_path / "a.wav", [sound], tmp_path / "x.mp4"), "only sound"),
        (lambda: place_alone([PlacedSound(tmp_path / "a.wav", Following())], tmp_path / "x.wav"), "clip alone"),
        (lambda: PlaceSettings(order=4), "order 4"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "clip.mp4"]


def test_a_cancel_leaves_no_file(tmp_path: Path, clip: Callable[..., Path]) -> None:
    def cancel(done: int, total: int, what: str) -> None:
        if what == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place_on_clip(clip(), [PlacedSound(voice(tmp_path / "a.wav"))], tmp_path / "out.mp4", progress=cancel)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "clip.mp4"]
