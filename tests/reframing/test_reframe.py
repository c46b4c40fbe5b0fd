"""Reframing: every source frame at its own time, the true view, and sound that turns without a jump."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from shared_data import data_path
from synthetic_clips import write_video

from con360.choices import SoundKind
from con360.errors import InputError
from con360.geometry.perspective import erp_to_perspective
from con360.geometry.sphere import rotation
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.writer import clip_stream
from con360.metrics.audio import foa_angles_deg
from con360.records import Sound, View
from con360.reframing.aim import Follow
from con360.reframing.camera import Camera
from con360.reframing.run import ReframeSettings, reframe
from con360.sound.ambisonics import encode, stereo_matrix, to_ambix
from con360.sound.headphones import to_ears
from con360.sound.moving import mix_moving
from con360.sound.rotation import turn_blocks, turn_matrices
from con360.sound.stereo import stereo_yaw_deg
from con360.sound.views import front_mono, view_sound
from con360.viewpoint.follow import Follower, view_on_path
from con360.viewpoint.keyframes import Keyframe

RATE = 48000


def picture(i: int = 0) -> np.ndarray:
    """Draw a smooth panorama `[64, 128, 3]` with a colour for each direction; `i` changes its brightness."""
    across, down = (np.arange(128) + 0.5) / 64 * np.pi, (np.arange(64) + 0.5) / 64 * np.pi
    yaw, pitch = np.meshgrid(across - np.pi, np.pi / 2 - down)
    levels = np.stack((np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)), -1)
    return ((levels + 1) * (90 + i % 8)).round().astype(np.uint8)


def write_panorama(path: Path, ticks: list[int], base: Fraction, foa: torch.Tensor | None = None) -> Path:
    shape = None if foa is None else (len(foa), RATE)
    with clip_stream(path, (128, 64), base, 30, shape) as clip:
        for i, tick in enumerate(ticks):
            clip.add_frame(picture(i), tick)
        if foa is not None:
            clip.add_sound(foa.numpy())
    return path


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def tone(seconds: float, hz: float = 440.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * RATE)) / RATE)


def test_60_frames_per_second_stay_60(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(90)), Fraction(1, 60))
    made = reframe(source, tmp_path / "out.mp4", Follow(), ReframeSettings(size=(32, 32)))
    assert made.num_frames == 90
    assert times(tmp_path / "out.mp4") == pytest.approx(times(source), abs=1 / 90000)


def test_a_variable_rate_is_kept_or_made_constant_with_a_notice(tmp_path: Path) -> None:
    ticks = [0, 33, 66, 200, 233, 500, 533, 566]
    source = write_panorama(tmp_path / "in.mp4", ticks, Fraction(1, 1000))
    made = reframe(source, tmp_path / "own.mp4", View(0.0), ReframeSettings(size=(32, 32)))
    assert times(tmp_path / "own.mp4") == pytest.approx([tick / 1000 for tick in ticks], abs=1 / 90000)
    assert any("varies" in notice for notice in made.notices)
    made = reframe(source, tmp_path / "even.mp4", View(0.0), ReframeSettings(size=(32, 32), fps=10))
    assert times(tmp_path / "even.mp4") == pytest.approx([i / 10 for i in range(made.num_frames)])
    assert made.num_frames in (6, 7)
    assert any("constant at 10" in notice for notice in made.notices)


def test_an_excerpt_begins_with_the_frame_that_shows_its_start(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30))
    made = reframe(
        source, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32), start_s=0.35, duration_s=0.3)
    )
    # Frame 10 stands from 0.333 to 0.367 s, the last one before 0.65 s is number 19.
    assert made.num_frames == 10
    assert times(tmp_path / "out.mp4")[:3] == pytest.approx([0, 11 / 30 - 0.35, 12 / 30 - 0.35], abs=1 / 45000)


@pytest.mark.parametrize("view", [View(0.0), View(170.0, 20.0, 90.0), View(30.0, 85.0, 60.0, -35.0)])
def test_the_picture_is_the_librarys_view(tmp_path: Path, view: View) -> None:
    source = write_panorama(tmp_path / "in.mp4", [0, 1], Fraction(1, 30))
    reframe(source, tmp_path / "out.mp4", view, ReframeSettings(size=(64, 32)))
    with av.open(str(tmp_path / "out.mp4")) as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)
    erp = torch.from_numpy(picture()).permute(2, 0, 1)[None].float()
    whole = erp_to_perspective(erp, view, 64, antialias=False)[0].permute(1, 2, 0).numpy()
    # The field of view spans the longer side: the wide picture is the middle of the square one.
    # Cubic against linear; OpenCV before 5 places samples on a grid of 1/32 pixel.
    limit = 3.0 if int(cv2.__version__.split(".")[0]) >= 5 else 8.0
    assert np.abs(found - whole[16:48]).mean() < limit


def test_a_rolled_camera_sees_its_picture_turned() -> None:
    turned = Camera(32, 64).picture(picture(), View(20.0, 10.0, 70.0, 90.0))
    level = Camera(64, 32).picture(picture(), View(20.0, 10.0, 70.0))
    assert np.abs(turned.astype(int) - np.rot90(level)).max() <= 1


def test_default_size_has_the_sources_pixels_per_degree(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", [0, 1], Fraction(1, 30))
    # 128 columns over 2 pi: a right angle's tangent plane is 2 units wide, 40.7 pixels.
    made = reframe(source, tmp_path / "out.mp4", View(0.0, 0.0, 90.0))
    assert (made.width, made.height) == (40, 40)


def test_turning_by_hand() -> None:
    front = encode(torch.ones(8), 0.0, 0.0)

    def turned(yaw: float, pitch: float = 0.0) -> torch.Tensor:
        return stereo_matrix().float() @ turn_matrices(rotation(yaw, pitch)) @ front

    ahead, side = 0.5 * (1 + math.cos(math.radians(75))), 0.5 * (1 + math.sin(math.radians(75)))
    assert turned(0)[:, 0].tolist() == pytest.approx([ahead, ahead], abs=1e-6)
    # The camera turns right, so that the front comes to lie at its left.
    assert turned(90)[:, 0].tolist() == pytest.approx([side, 1 - side], abs=1e-6)
    assert turned(-90)[:, 0].tolist() == pytest.approx([1 - side, side], abs=1e-6)
    assert turned(180)[:, 0].tolist() == pytest.approx([1 - ahead, 1 - ahead], abs=1e-6)
    up = turn_matrices(rotation(0.0, 90.0)) @ front
    # Looking up, the old front lies below: Z is -1.
    assert up[:, 0].tolist() == pytest.approx([1, 0, -1, 0], abs=1e-6)


def test_mono_is_view_sound() -> None:
    sound = Sound(torch.randn(4, 500, generator=torch.Generator().manual_seed(0)), RATE, "ambix")
    view = View(50.0, -20.0)
    ours = front_mono(turn_matrices(rotation(view.yaw_deg, view.pitch_deg)) @ sound.waveform)
    assert torch.allclose(ours, view_sound(sound, view, 8).waveform, atol=1e-5)


def test_a_turning_view_makes_no_click() -> None:
    foa = encode(tone(1.0), 0.0, 0.0)
    yaw = torch.linspace(0, 180, RATE // 512 + 2, dtype=torch.float64)
    heard = mix_moving(foa, stereo_matrix() @ turn_matrices(rotation(yaw, torch.zeros_like(yaw))), 512)
    steps = heard.diff(dim=1).abs().amax()
    # A sine of 0.5 moves at most 2 pi f A / rate per sample; the turn itself adds next to nothing.
    assert steps < 1.02 * 2 * math.pi * 440 * 0.5 / RATE
    bends = heard.diff(n=2, dim=1).abs().amax()
    assert bends < 0.5 * (2 * math.pi * 440 / RATE) ** 2 * 1.1


def test_sound_of_a_moving_path_in_a_file(tmp_path: Path) -> None:
    foa = encode(tone(2.0), 0.0, 0.0)
    source = write_panorama(tmp_path / "in.mp4", list(range(60)), Fraction(1, 30), foa)
    assert probe(source).audio_tracks[0].layout == "ambix"
    path = (Keyframe(0.5, View(0.0)), Keyframe(1.5, View(90.0)))
    made = reframe(source, tmp_path / "out.mp4", path, ReframeSettings(size=(32, 32)))
    assert made.sound == "stereo"
    heard = read_sound(tmp_path / "out.mp4")[0].waveform
    assert heard.shape == (2, 2 * RATE)
    ahead, side = 0.5 * (1 + math.cos(math.radians(75))), 0.5 * (1 + math.sin(math.radians(75)))

    def level(channel: int, start_s: float) -> float:
        part = heard[channel, round(start_s * RATE) : round((start_s + 0.2) * RATE)]
        return float(part.square().mean().sqrt() * math.sqrt(2) / 0.5)

    assert [level(0, 0.2), level(1, 0.2)] == pytest.approx([ahead, ahead], abs=0.02)
    assert [level(0, 1.7), level(1, 1.7)] == pytest.approx([side, 1 - side], abs=0.02)
    assert heard[:, 2000:-2000].diff(dim=1).abs().amax() < 1.15 * 2 * math.pi * 440 * 0.5 * side / RATE


def test_foa_stays_foa_and_says_so(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30), encode(tone(1.0), 0.0, 0.0))
    reframe(source, tmp_path / "out.mp4", View(90.0), ReframeSettings(size=(32, 32), sound="foa"))
    (track,) = probe(tmp_path / "out.mp4").audio_tracks
    assert (track.layout, track.channels, track.notices) == ("ambix", 4, ())
    w, y, z, x = read_sound(tmp_path / "out.mp4")[0].waveform[:, 5000:-5000].square().mean(1).sqrt()
    assert float(y / w) == pytest.approx(1, abs=0.02) and float(x / w) < 0.02 and float(z / w) < 0.02


@pytest.mark.parametrize("kind", ["stereo", "headphones"])
def test_sound_turns_with_the_roll(tmp_path: Path, kind: SoundKind) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30), encode(tone(1.0), 90.0, 0.0))
    path = (Keyframe(0.0, View(0.0), "hold"), Keyframe(0.5, View(0.0, roll_deg=90.0)))
    reframe(source, tmp_path / "out.mp4", path, ReframeSettings(size=(32, 32), sound=kind))
    heard = read_sound(tmp_path / "out.mp4")[0].waveform
    level, rolled = (heard[:, at : at + 9600].square().mean(1).log10() * 10 for at in (9600, 33600))
    # At the right of the level camera; above the one that leans right by a quarter turn.
    assert level[1] > level[0] + 3
    assert float(rolled[0]) == pytest.approx(float(rolled[1]), abs=0.3)


def test_stereo_by_a_law_turns_with_the_view(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30), encode(tone(1.0), 100.0, 0.0))
    made = reframe(source, tmp_path / "out.mp4", View(85.0), ReframeSettings(size=(32, 32), stereo="tangent"))
    heard = read_sound(tmp_path / "out.mp4")[0]
    assert made.sound == heard.layout == "stereo" and heard.waveform.shape == (2, RATE)
    part = Sound(heard.waveform[:, 5000:-5000], RATE, "stereo")
    assert stereo_yaw_deg(part, "tangent") == pytest.approx(15, abs=1)
    plain = write_panorama(tmp_path / "two.mp4", list(range(30)), Fraction(1, 30), torch.stack((tone(1.0),) * 2))
    made = reframe(plain, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32), stereo="constant-power"))
    assert any("'constant-power' pans Ambisonics alone; this sound is stereo" in notice for notice in made.notices)
    with pytest.raises(InputError, match="a stereo law is for the sound 'stereo'"):
        ReframeSettings(sound="foa", stereo="tangent")


def test_fuma_is_converted_by_name(tmp_path: Path) -> None:
    ambix = encode(tone(1.0), -60.0, 0.0)
    fuma = torch.stack((ambix[0] / math.sqrt(2), ambix[3], ambix[1], ambix[2]))
    assert torch.allclose(to_ambix(fuma, "fuma"), ambix, atol=1e-6)
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30), fuma)
    reframe(source, tmp_path / "out.mp4", View(-60.0), ReframeSettings(size=(32, 32), sound="foa", ambisonics="fuma"))
    w, y, _, x = read_sound(tmp_path / "out.mp4")[0].waveform[:, 5000:-5000].square().mean(1).sqrt()
    assert float(x / w) == pytest.approx(1, abs=0.02) and float(y / w) < 0.02


def test_stereo_is_left_alone(tmp_path: Path) -> None:
    stereo = torch.stack((tone(1.0), 0 * tone(1.0)))
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30), stereo)
    made = reframe(source, tmp_path / "out.mp4", View(120.0), ReframeSettings(size=(32, 32)))
    left, right = read_sound(tmp_path / "out.mp4")[0].waveform[:, 5000:-5000]
    assert made.sound == "as recorded" and float(right.abs().max()) < 0.01 < float(left.abs().max())
    with pytest.raises(InputError, match="turned Ambisonics"):
        reframe(source, tmp_path / "no.mp4", View(0.0), ReframeSettings(sound="foa"))


def footage(path: Path, sound: np.ndarray, rate: int = RATE, layout: str = "5.1", seconds: float = 1.0) -> Path:
    """A panorama with sound of any channels and rate, uncompressed."""
    times_s = [i / 10 for i in range(round(10 * seconds))]
    return write_video(path, times_s, sound=sound, rate_hz=rate, layout=layout, sound_codec="pcm_s16le")


def levels_db(path: Path) -> list[float]:
    waveform = read_sound(path)[0].waveform[:, 5000:-5000].double()
    return (10 * torch.log10(waveform.square().mean(1) + 1e-12)).tolist()


@pytest.mark.parametrize(("kind", "wanted"), [("auto", [-3.01, -3.01]), ("stereo", [-3.01, -3.01]), ("mono", [0.0])])
@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_dialogue_keeps_its_level(tmp_path: Path, layout: str, kind: SoundKind, wanted: list[float]) -> None:
    sound = np.zeros((6 if layout == "5.1" else 8, RATE), np.float32)
    sound[2], sound[3] = tone(1.0), tone(1.0, 40.0)
    source = footage(tmp_path / "in.mov", sound, layout=layout)
    made = reframe(source, tmp_path / "out.mp4", View(70.0), ReframeSettings(size=(32, 32), sound=kind))
    own = 20 * math.log10(0.5 / math.sqrt(2))
    assert levels_db(tmp_path / "out.mp4") == pytest.approx([own + gain for gain in wanted], abs=0.1)
    assert made.sound == ("stereo" if kind == "auto" else kind)
    assert any("BS.775, without LFE" in notice for notice in made.notices)


def test_channels_without_places_are_averaged_with_a_notice(tmp_path: Path) -> None:
    made = reframe(footage(tmp_path / "in.mov", np.tile(tone(1.0), (10, 1)), layout="10 channels"),
                   tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32)))  # fmt: skip
    assert made.sound == "mono" and any("mean of the sound's 10 channels" in notice for notice in made.notices)


@pytest.mark.parametrize("layout", ["9 channels", "16 channels"])
def test_higher_orders_turn_with_their_first(tmp_path: Path, layout: str) -> None:
    sound = np.zeros((int(layout.split()[0]), RATE), np.float32)
    sound[:4] = encode(tone(1.0), 90.0, 0.0)
    made = reframe(
        footage(tmp_path / "in.mov", sound, layout=layout),
        tmp_path / "out.mp4",
        View(90.0),
        ReframeSettings(size=(32, 32)),
    )
    left, right = levels_db(tmp_path / "out.mp4")
    assert left == pytest.approx(right, abs=0.1) and made.sound == "stereo"
    assert any("first-order part" in notice for notice in made.notices)


def test_a_head_locked_pair_does_not_turn(tmp_path: Path) -> None:
    # The field is a tone at the right; the pair has another tone in its left channel alone.
    pair = torch.stack((0.4 * tone(1.0, 1000.0), torch.zeros(RATE)))
    sound = torch.cat((encode(0.5 * tone(1.0), 90.0, 0.0), pair)).numpy()
    source = footage(tmp_path / "in.mov", sound, layout="6 channels")

    def heard(yaw: float, kind: SoundKind) -> tuple[torch.Tensor, tuple[str, ...]]:
        """Amplitude of both tones in each channel."""
        made = reframe(
            source, tmp_path / "out.mp4", View(yaw), ReframeSettings(size=(32, 32), sound=kind, head_locked=True)
        )
        waveform = read_sound(tmp_path / "out.mp4")[0].waveform[:, 4800:43200].double()
        bins = torch.fft.rfft(waveform, dim=1).abs() / 19200
        return bins[:, [round(440 * 0.8), round(1000 * 0.8)]], made.notices

    for yaw in (90.0, -90.0):
        (stereo, _), (mono, _) = heard(yaw, "stereo"), heard(yaw, "mono")
        front = 0.25 * 0.5 * (1 + math.cos(math.radians(75)) * (1 if yaw > 0 else -1))
        assert stereo[:, 0].tolist() == pytest.approx([front, front], abs=0.005)
        assert stereo[:, 1].tolist() == pytest.approx([0.2, 0], abs=0.005)
        assert mono[0].tolist() == pytest.approx([0.25 if yaw > 0 else 0.125, 0.2 * math.sqrt(0.5)], abs=0.005)
    field, notices = heard(90.0, "foa")
    assert float(field[:, 1].max()) < 0.005 and any("pair is left out" in notice for notice in notices)


@pytest.mark.parametrize(("rate", "kept"), [(192000, 96000), (37800, 44100)])
def test_any_rate_is_resampled_without_a_seam(tmp_path: Path, rate: int, kept: int) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate).astype(np.float32)
    source = footage(tmp_path / "in.mov", np.stack((wave, wave)), rate, "stereo", 3.0)
    made = reframe(source, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32)))
    assert any(f"from {rate} to {kept} Hz" in notice for notice in made.notices)
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert (sound.sample_rate_hz, sound.waveform.shape) == (kept, (2, 3 * kept))
    wanted = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(3 * kept) / kept)
    assert float((sound.waveform - wanted)[:, 1000:-1000].abs().max()) < 0.01


def test_loud_ambisonics_gets_one_gain_and_keeps_its_direction(tmp_path: Path) -> None:
    loud = 3.0 * encode(2 * tone(1.0) * (0.3 + 0.7 * (tone(1.0, 3.0) > 0)), 60.0, 0.0)
    source = write_video(tmp_path / "in.mov", [i / 10 for i in range(10)], sound=loud.numpy(), layout="4 channels",
                         sound_codec="pcm_f32le")  # fmt: skip
    made = reframe(source, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32), sound="foa"))
    assert [notice for notice in made.notices if "turned down" in notice] == [
        "The sound was turned down by 10.0 dB, all channels alike: AAC would clip its peaks."
    ]
    sound, _ = read_sound(tmp_path / "out.mp4")
    for at in range(0, 43200, 2400):
        assert foa_angles_deg(Sound(sound.waveform[:, at : at + 2400], RATE, "ambix"))[0] == pytest.approx(60, abs=1)


def test_where_nothing_can_be_written_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(10)), Fraction(1, 30))
    monkeypatch.setattr("con360.reframing.run.PanoramaStream", lambda *_: pytest.fail("the source was opened"))
    (tmp_path / "file").touch()
    for out, words in (("out.avi", "does not end in .mp4"), (".", "does not end|is a folder"),
                       ("file/out.mp4", "is a file")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            reframe(source, tmp_path / out, Follow(), ReframeSettings(size=(32, 32)))


def test_cancel_leaves_nothing(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(30)), Fraction(1, 30))

    def stop(done: int, total: int, what: str) -> None:
        if what == "reframing" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reframe(source, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32)), progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_cancel_is_heard_at_each_picture_that_saliency_looks_at(tmp_path: Path) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(60)), Fraction(1, 30))
    heard: list[int] = []

    def stop(done: int, total: int, what: str) -> None:
        assert (what, total) == ("looking for what is salient", 8)
        heard.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reframe(source, tmp_path / "out.mp4", Follow(), ReframeSettings(size=(32, 32)), progress=stop)
    assert heard == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (33, 32)}, "even numbers"), ({"sound": "loud"}, "unknown"), ({"start_s": -1}, "0 or later"),
        ({"duration_s": 0}, "positive"), ({"start_s": 9}, "choose an earlier start"), ({"fps": math.nan}, "frames per"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(tmp_path: Path, options: dict, words: str) -> None:
    source = write_panorama(tmp_path / "in.mp4", list(range(10)), Fraction(1, 30))
    with pytest.raises(InputError, match=words):
        reframe(source, tmp_path / "out.mp4", View(0.0), ReframeSettings(**options))
    assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(InputError, match="both read and written"):
        reframe(source, source, View(0.0))


# Following ------------------------------------------------------------------------------------------------------------


def blob(yaw_deg: float, second_deg: float | None = None) -> torch.Tensor:
    """A map `[48, 96]` with a large spot, and a smaller one."""
    yaw, pitch = torch.meshgrid(torch.arange(96) * 3.75 - 178.125, 88.125 - torch.arange(48) * 3.75, indexing="xy")

    def spot(at: float, wide: float) -> torch.Tensor:
        off = (yaw - at + 180) % 360 - 180
        return torch.exp(-0.5 * (off**2 + pitch**2) / wide**2)

    return spot(yaw_deg, 14.0) if second_deg is None else torch.maximum(spot(yaw_deg, 14.0), spot(second_deg, 8.0))


@pytest.mark.parametrize(("rank", "expected"), [(1, -60.0), (2, 100.0), (7, 100.0)])
def test_the_camera_looks_at_its_rank(rank: int, expected: float) -> None:
    follower = Follower(4.0, rank)
    for _ in range(8):
        follower.add(blob(-60.0, 100.0))
    view = view_on_path(follower.path(), 5.5, 90.0)
    assert (view.yaw_deg, view.pitch_deg) == (pytest.approx(expected, abs=1), pytest.approx(0, abs=1))


def test_the_camera_moves_with_its_region_over_the_seam() -> None:
    follower = Follower(4.0)
    for i in range(24):
        follower.add(blob(150.0 + 4 * i))
    for i in (6, 12, 17):
        off = view_on_path(follower.path(), i, 90.0).yaw_deg - (150.0 + 4 * i)
        assert abs((off + 180) % 360 - 180) < 4


def test_the_camera_swings_when_its_region_is_gone_and_never_jumps() -> None:
    follower = Follower(4.0)
    for i in range(60):
        follower.add(blob(0.0) if i < 20 else blob(180.0))
    path = follower.path()
    steps = np.degrees(np.arccos(np.clip((path[1:] * path[:-1]).sum(1), -1, 1)))
    assert steps.max() < 16
    assert abs(abs(view_on_path(path, 59, 90.0).yaw_deg) - 180) < 1


def test_a_short_flash_does_not_turn_the_camera() -> None:
    follower = Follower(4.0)
    for i in range(24):
        follower.add(blob(0.0) if i != 12 else blob(0.0, 90.0))
    assert max(abs(view_on_path(follower.path(), i, 90.0).yaw_deg) for i in range(24)) < 3


# Real recordings ------------------------------------------------------------------------------------------------------


def test_a_real_clip_keeps_its_frames_and_turns_its_sound(tmp_path: Path) -> None:
    source = data_path("video/congo_eye_1024x512_h264_foa_aac_v2meta.mp4")
    made = reframe(source, tmp_path / "out.mp4", Follow(), ReframeSettings(size=(64, 64), duration_s=2.0))
    assert made.sound == "stereo"
    wanted = [time for time in times(source) if time < 2.0 - 1e-6]
    assert times(tmp_path / "out.mp4") == pytest.approx(wanted, abs=1 / 90000)


def test_a_recorded_violin_moves_to_the_left_channel() -> None:
    sound, _ = read_sound(data_path("foa/violin_SN3D_ACN_az135_el0.wav"))

    # Azimuth 135 is yaw -135: 90 degrees to the left of yaw -45, 90 degrees to the right of yaw 135.
    def levels(yaw: float) -> torch.Tensor:
        return (stereo_matrix().float() @ turn_matrices(rotation(yaw, 0.0)) @ sound.waveform).square().mean(1).sqrt()

    left, right = levels(-45.0)
    assert float(right / left) < 0.1
    left, right = levels(135.0)
    assert float(right) > float(left)
    left, right = levels(-135.0)
    assert float(left / right) == pytest.approx(1.0, abs=0.05)


# Headphones -----------------------------------------------------------------------------------------------------------


def test_headphones_hear_the_turned_field_of_every_order(tmp_path: Path) -> None:
    # A noise at the right and above, which the view passes: it is heard at the right first, then at the left.
    noise = 0.1 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(3))
    pair = torch.stack((0.2 * tone(2.0, 300.0), torch.zeros(2 * RATE)))
    field = encode(noise, 60.0, 10.0, 2)
    source = footage(tmp_path / "in.mov", torch.cat((field, pair)).numpy(), seconds=2.0, layout="11 channels")
    path = (Keyframe(0.0, View(0.0)), Keyframe(2.0, View(120.0, -20.0)))
    settings = ReframeSettings(size=(32, 32), sound="headphones", head_locked=True)
    made = reframe(source, tmp_path / "out.mp4", path, settings)
    sound, _ = read_sound(tmp_path / "out.mp4")
    assert made.sound == "headphones" and (sound.layout, sound.waveform.shape) == ("stereo", (2, 2 * RATE))

    def cameras(times_s: np.ndarray) -> torch.Tensor:
        yaw, pitch = np.interp(times_s, [0, 2], [0, 120]), np.interp(times_s, [0, 2], [0, -20])
        return rotation(torch.from_numpy(yaw), torch.from_numpy(pitch))

    (turned,) = turn_blocks([field], RATE, cameras, 2)
    wanted = to_ears(Sound(turned, RATE, "ambix")).waveform + pair
    # AAC keeps the waveform of a noise to about a tenth, sample by sample.
    apart = (sound.waveform - wanted)[:, 2000:-2000].square().mean(1) / wanted.square().mean(1)
    assert apart.max() < 0.03
    assert not any("first order" in notice for notice in made.notices)


def test_headphones_that_cannot_be_are_a_sentence(tmp_path: Path) -> None:
    source = footage(tmp_path / "in.mov", torch.stack((tone(1.0), tone(1.0))).numpy(), layout="stereo")
    with pytest.raises(InputError, match="sound for headphones was asked for, but the sound is stereo"):
        reframe(source, tmp_path / "out.mp4", View(0.0), ReframeSettings(size=(32, 32), sound="headphones"))
    with pytest.raises(InputError, match="for the sound 'headphones', and the sound is 'auto'"):
        ReframeSettings(hrtf="ears.sofa")
    field = footage(tmp_path / "field.mov", encode(tone(1.0), 0.0, 0.0).numpy(), layout="4 channels")
    with pytest.raises(InputError, match="there is no file"):
        settings = ReframeSettings(size=(32, 32), sound="headphones", hrtf=tmp_path / "none.sofa")
        reframe(field, tmp_path / "out.mp4", View(0.0), settings)
    assert not (tmp_path / "out.mp4").exists()
