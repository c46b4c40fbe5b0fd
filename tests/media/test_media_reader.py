from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shared_data import data_path
from synthetic_clips import noise, numbered_frame, read_number, write_video

from con360.errors import InputError
from con360.media.decoding import MAX_ON_THEIR_WAY, Tally, decode_from, pick_by_time
from con360.media.info import MediaInfo, probe
from con360.media.painting import upright_pixels
from con360.media.reader import PanoramaStream, read_panorama, read_sound
from con360.records import Sound

HEIGHT = 64
ROOT = Path(__file__).resolve().parents[2]


def numbers(clip) -> list[int]:
    return [read_number(frame) for frame in clip.frames]


def shown_at(times_s, wanted_s):
    """Apply the rule the slow way: the last frame not later than the time, the first frame for earlier times."""
    return [max([i for i, t in enumerate(times_s) if t <= w + 1e-5], default=0) for w in wanted_s]


def stamps(times_s, suffix):
    """Return times as the container stores them, less the reader's half tick: Matroska's clock counts milliseconds."""
    if suffix != "mkv":
        return times_s
    return [math.floor(Fraction(round(t * 90000), 90) + Fraction(1, 2)) / 1000 - 0.0005 for t in times_s]


def constant(fps: Fraction | float, seconds: float) -> list[float]:
    return [float(i / fps) for i in range(int(seconds * fps))]


def variable(seconds: float) -> list[float]:
    choose, times = random.Random(3), [0.0]
    while times[-1] < seconds:
        times.append(round(times[-1] + choose.choice((0.02, 0.03, 0.1, 0.4)), 3))
    return times


RATES = {
    "29.97": constant(Fraction(30000, 1001), 5),
    "59.94": constant(Fraction(60000, 1001), 4.2),
    "15": constant(15, 5),
    "1": constant(1, 5),
    "variable": variable(5),
}


@pytest.mark.parametrize("times", RATES.values(), ids=RATES)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_by_timestamp_at_any_rate(tmp_path, times, suffix):
    clip = read_panorama(write_video(tmp_path / f"clip.{suffix}", times[:256], clock=90000), height=HEIGHT)
    assert clip.frames.shape == (32, 3, HEIGHT, 2 * HEIGHT)
    clock = stamps(times, suffix)
    assert numbers(clip) == shown_at(clock, [i / 8 for i in range(32)])


@pytest.mark.parametrize("start_s", [0.0, 0.3, 1.0, 2.125])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_picture_and_sound_come_from_the_same_moment(tmp_path, start_s, suffix):
    times = constant(Fraction(30000, 1001), 5)
    sound = noise(1, 5 * 48000)
    codec = {"mp4": "aac", "mkv": "flac", "mov": "pcm_s16le"}[suffix]
    path = write_video(tmp_path / f"c.{suffix}", times, sound=sound, sound_codec=codec)
    clip = read_panorama(path, start_s=start_s, duration_s=1.5, height=HEIGHT)
    clock = stamps(times, suffix)
    assert numbers(clip) == shown_at(clock, [start_s + i / 8 for i in range(12)])
    expected = torch.from_numpy(sound[:, round(start_s * 48000) :][:, :72000])
    assert clip.sound.waveform.shape == (1, 72000)
    if codec == "aac":  # lossy: the noise still lines up best without any shift
        fit = [float((clip.sound.waveform[0, 100:-100] * expected[0, 100 + k : 71900 + k]).sum()) for k in range(-3, 4)]
        assert fit.index(max(fit)) == 3
    else:
        assert (clip.sound.waveform - expected).abs().max() < 1e-4
    assert clip.start_s == start_s and not [n for n in clip.notices if "end" in n or "late" in n]


def test_frames_before_the_first_are_the_first(tmp_path):
    times = [0.5 + t for t in constant(10, 2)]
    path = write_video(tmp_path / "late.mkv", times, sound=noise(1, 48000 * 3), sound_codec="flac")
    clip = read_panorama(path, duration_s=2.0, height=HEIGHT)
    assert numbers(clip) == shown_at(stamps(times, "mkv"), [i / 8 for i in range(16)])


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_seek_gives_the_same_frames_as_reading_through(tmp_path, bframes):
    path = tmp_path / "gop.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": bframes, "g": "40", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for i in range(240):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(i), format="rgb24")))
        container.mux(stream.encode(None))
    whole = read_panorama(path, duration_s=8.0, fps=30.0, height=HEIGHT)
    part = read_panorama(path, start_s=5.1, duration_s=1.0, fps=30.0, height=HEIGHT)
    assert numbers(part) == list(range(153, 183))
    assert torch.equal(part.frames, whole.frames[153:183])


EARLY = [("mkv", "libx264", "flac"), ("mkv", "libx264", "aac"), ("webm", "libvpx-vp9", "libopus")]


def early_clip(path: Path, begin_s: float, codec: str, sound_codec: str) -> Path:
    """Write four numbered seconds and noise, stored from `begin_s` on as they are."""
    times = [begin_s + i / 30 for i in range(120)]
    return write_video(
        path, times, sound=noise(1, 4 * 48000), sound_start_s=begin_s, codec=codec, sound_codec=sound_codec,
        options={"avoid_negative_ts": "disabled"},
    )  # fmt: skip


@pytest.mark.parametrize(("suffix", "codec", "sound_codec"), EARLY)
@pytest.mark.parametrize("begin_s", [-1.5, -2.6])
def test_what_matroska_stores_before_its_time_0_is_read(tmp_path, suffix, codec, sound_codec, begin_s):
    """FFmpeg gives such packets no timestamps, or invented ones."""
    early = early_clip(tmp_path / f"early.{suffix}", begin_s, codec, sound_codec)
    # The coder's own lead-in may begin a little sooner than the picture.
    shift = begin_s - probe(early).origin_s
    assert 0 <= shift < 0.03 and probe(early).duration_s == pytest.approx(4.0, abs=0.03)
    clip = read_panorama(early, start_s=shift, duration_s=4.0, fps=30.0, height=HEIGHT)
    assert numbers(clip) == list(range(120)) and not [n for n in clip.notices if "ends at" in n or "held" in n]
    times = [time_s - shift for time_s, _ in PanoramaStream(probe(early)).frames()]
    assert times == pytest.approx([i / 30 for i in range(120)], abs=2e-3)
    plain = early_clip(tmp_path / f"plain.{suffix}", 1.0, codec, sound_codec)
    lead = 1.0 - probe(plain).origin_s
    sounds = [read_panorama(p, start_s=s, duration_s=3.5, height=16).sound for p, s in ((early, shift), (plain, lead))]
    # Matroska's clock counts milliseconds: each file may be off by one.
    assert abs(lag_of(*sounds)) <= 0.002 * 48000


@pytest.mark.parametrize("start_s", [0.5, 2.0, 3.5])
def test_any_moment_of_an_early_file(tmp_path, start_s):
    path = early_clip(tmp_path / "early.mkv", -1.5, "libx264", "flac")
    clip = read_panorama(path, start_s=start_s, duration_s=0.4, fps=30.0, height=HEIGHT)
    assert numbers(clip) == list(range(round(start_s * 30), round(start_s * 30) + 12))


def lag_of(one: Sound, other: Sound) -> int:
    """Return the samples by which the second sound is late."""
    spectra = [torch.fft.rfft(sound.waveform[0]) for sound in (one, other)]
    likeness = torch.fft.irfft(spectra[0].conj() * spectra[1])
    return (int(likeness.argmax()) + len(likeness) // 2) % len(likeness) - len(likeness) // 2


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=20),
    start=st.floats(-1.0, 5.0),
    count=st.integers(1, 20),
    first=st.floats(0.0, 2.0),
)
def test_picking_equals_the_slow_rule(gaps, start, count, first):
    times = list(first + np.concatenate([[0.0], np.cumsum(gaps)]))
    wanted = [start + i / 8 for i in range(count)]
    assert list(pick_by_time(((t, i) for i, t in enumerate(times)), wanted, 1e-5)) == shown_at(times, wanted)


def test_picking_reads_no_further_than_it_must():
    read = []

    def source():
        for i in range(100):
            read.append(i)
            yield i / 10, i

    assert list(pick_by_time(source(), [0.0, 0.5], 1e-3)) == [0, 5]
    assert max(read) == 6


def test_the_tally_of_packets_does_not_grow(tmp_path):
    """A recording of hours has millions of packets, and some never become a frame."""
    tally = Tally()
    for i in range(2 * MAX_ON_THEIR_WAY):
        tally.expect(i, 1)
    assert list(tally.durations) == list(range(MAX_ON_THEIR_WAY, 2 * MAX_ON_THEIR_WAY))
    path = write_video(tmp_path / "c.mp4", constant(30, 2), sound=noise(2, 96000))
    info = probe(path)
    for stream_index in (None, info.audio_tracks[0].stream_index):
        with decode_from(info, stream_index, 0.0, tally) as (timed, _):
            tally.reset()
            assert len(list(timed)) > 50 and len(tally.durations) <= 1


def test_short_clip_is_held_and_padded_with_notices(tmp_path):
    path = write_video(tmp_path / "short.mp4", constant(8, 1), sound=noise(2, 48000))
    clip = read_panorama(path, duration_s=2.0, height=HEIGHT)
    assert numbers(clip) == [0, 1, 2, 3, 4, 5, 6] + [7] * 9
    assert clip.sound.waveform.shape == (2, 96000) and clip.sound.waveform[:, 48000:].abs().sum() == 0
    ends = r"ends at (0\.9\d|1\.00) s"  # what the muxer writes as the last frame's length differs by version
    assert any(re.search(f"picture {ends}", n) and "8 of 16" in n for n in clip.notices)
    assert any("sound ends at 1.00 s" in n for n in clip.notices)
    with pytest.raises(InputError, match=ends):
        read_panorama(path, start_s=1.0, height=HEIGHT)
    with pytest.raises(InputError, match=ends):
        read_panorama(path, start_s=900.0, height=HEIGHT)


def test_nothing_to_notice_about_a_plain_clip(tmp_path):
    pictures = [np.full((64, 128, 3), 40 + i, np.uint8) for i in range(32)]
    path = write_video(tmp_path / "plain.mp4", constant(8, 4), sound=noise(2, 4 * 48000), pictures=pictures)
    assert read_panorama(path, height=HEIGHT).notices == ()


def test_progress_counts_frames_and_may_cancel(tmp_path):
    path = write_video(tmp_path / "c.mp4", constant(15, 2))
    seen = []
    read_panorama(path, duration_s=1.0, height=HEIGHT, progress=lambda *step: seen.append(step))
    assert seen == [(i, 8, "reading frames") for i in range(1, 9)]

    class Cancelled(Exception):
        pass

    def cancel(done, total, what):
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        read_panorama(path, duration_s=1.0, height=HEIGHT, progress=cancel)


# Shape, eyes, colour --------------------------------------------------------------------------------------------------


def quadrants(height: int, width: int) -> np.ndarray:
    """Red, green over blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = height // 2, width // 2
    picture[:half_h, :half_w], picture[:half_h, half_w:] = (200, 0, 0), (0, 200, 0)
    picture[half_h:, :half_w], picture[half_h:, half_w:] = (0, 0, 200), (200, 200, 200)
    return picture


def corner_colours(frame: torch.Tensor) -> list[str]:
    _, height, width = frame.shape
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    points = [
        (height // 4, width // 4),
        (height // 4, 3 * width // 4),
        (3 * height // 4, width // 4),
        (3 * height // 4, 3 * width // 4),
    ]
    return [names.get(tuple((frame[:, y, x] > 0.4).int().tolist()), "?") for y, x in points]


@pytest.mark.parametrize(
    ("eye", "size", "colours"),
    [
        (None, (128, 64), ["red", "green", "blue", "white"]),
        ("left", (128, 128), ["red", "green", "red", "green"]),
        ("right", (128, 128), ["blue", "white", "blue", "white"]),
        ("left", (256, 64), ["red", "red", "blue", "blue"]),
        ("right", (256, 64), ["green", "green", "white", "white"]),
        ("whole", (64, 64), ["red", "green", "blue", "white"]),
    ],
)
def test_eye_on_request(tmp_path, eye, size, colours):
    path = write_video(tmp_path / "eye.mp4", [0.0], size=size, pictures=[quadrants(size[1], size[0])])
    clip = read_panorama(path, duration_s=0.5, height=HEIGHT, eye=eye)
    assert corner_colours(clip.frames[0]) == colours


@pytest.mark.parametrize(
    ("degrees", "colours"), [(180, ["white", "blue", "green", "red"]), (90, ["green", "white", "red", "blue"])]
)
def test_rotation_metadata_is_applied(tmp_path, degrees, colours):
    """90 is counter-clockwise: what was at the right comes up."""
    size = (128, 64) if degrees == 180 else (64, 128)
    source = write_video(tmp_path / "plain.mp4", [0.0], size=size, pictures=[quadrants(size[1], size[0])])
    path = tmp_path / "turned.mp4"
    # The display matrix in the track header, 16.16 fixed point: a, b / c, d with a = cos, b = -sin (counter-clockwise).
    content = source.read_bytes()
    at = content.index(b"tkhd") + 44
    cos, sin = (-1, 0) if degrees == 180 else (0, 1)
    matrix = (np.array([cos, -sin, 0, sin, cos, 0, 0, 0, 0x4000]) * 65536).astype(">i4")
    path.write_bytes(content[:at] + matrix.tobytes() + content[at + 36 :])
    assert probe(path).rotation_deg == degrees
    clip = read_panorama(path, duration_s=0.5, height=HEIGHT)
    assert corner_colours(clip.frames[0]) == colours
    assert not [n for n in clip.notices if "stretched" in n]


@pytest.mark.parametrize("size", [(128, 72), (64, 36)])
def test_other_shapes_are_stretched_with_a_notice(tmp_path, size):
    path = write_video(tmp_path / "wide.mp4", [0.0], size=size, pictures=[quadrants(size[1], size[0])])
    clip = read_panorama(path, duration_s=0.5, height=HEIGHT)
    assert corner_colours(clip.frames[0]) == ["red", "green", "blue", "white"]
    assert any(f"{size[0]}x{size[1]}, not 2:1" in n for n in clip.notices)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96), (240, 100)])
def test_flat_shapes_are_refused(tmp_path, size):
    path = write_video(tmp_path / "flat.mp4", [0.0], size=size, pictures=[quadrants(size[1], size[0])])
    with pytest.raises(InputError, match="looks like a flat picture"):
        read_panorama(path, height=HEIGHT)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [("libx265", "yuv420p10le", "mp4"), ("libx264", "gray", "mp4"), ("libvpx-vp9", "yuv420p", "webm")],
)
def test_pixel_formats(tmp_path, codec, pix_fmt, suffix):
    ramp = np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    path = write_video(tmp_path / f"c.{suffix}", constant(8, 0.5), codec=codec, pix_fmt=pix_fmt, pictures=[ramp] * 4)
    frame = read_panorama(path, duration_s=0.5, height=HEIGHT).frames[0]
    assert (frame - torch.from_numpy(ramp).permute(2, 0, 1) / 255).abs().mean() < 0.02


@pytest.mark.parametrize(("tag", "height"), [(1, 64), (5, 64), (2, 64), (2, 720)])
def test_colour_matrix_is_read_from_the_tag(tmp_path, tag, height):
    """Tagged video by its tag; untagged video is BT.601 when small and BT.709 from 720 lines on."""
    matrix = {1: "ITU709", 5: "ITU601"}.get(tag) or ("ITU709" if height >= 720 else "ITU601")
    red = av.VideoFrame.from_ndarray(np.full((height, 2 * height, 3), (230, 20, 20), np.uint8), format="rgb24")
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "5", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 2 * height, height, "yuv420p"
        stream.codec_context.colorspace = tag
        frame = red.reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = tag
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pixel = read_panorama(path, duration_s=0.2, height=HEIGHT).frames[0, :, 32, 64] * 255
    assert (pixel - torch.tensor([230.0, 20.0, 20.0])).abs().max() < 6


@pytest.mark.parametrize("matrix", ["ITU709", "ITU601"])
def test_levels_are_those_of_the_formula(tmp_path, matrix):
    """FFmpeg's fast conversion is 1 to 1.5 levels too dark; both ways are compared with the matrix itself."""
    small = np.random.default_rng(0).uniform(30, 225, (5, 9, 3)).astype(np.float32)
    picture = np.rint(cv2.resize(small, (256, 128), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    red, blue = {"ITU709": (0.2126, 0.0722), "ITU601": (0.299, 0.114)}[matrix]
    luma = picture @ np.array([red, 1 - red - blue, blue])
    differences = [(picture[..., c] - luma) / (2 - 2 * share) for c, share in ((2, blue), (0, red))]
    chroma = [128 + cv2.resize(d, (128, 64), interpolation=cv2.INTER_AREA) * 224 / 255 for d in differences]
    planes = [16 + luma * 219 / 255, *chroma]
    stored = np.concatenate([np.rint(plane).astype(np.uint8).ravel() for plane in planes]).reshape(192, 256)
    frame = av.VideoFrame.from_ndarray(stored, format="yuv420p")
    frame.colorspace, frame.color_range = {"ITU709": 1, "ITU601": 5}[matrix], 1
    off = upright_pixels(frame, MediaInfo(tmp_path, "video")).astype(float) - picture
    assert np.abs(off.mean((0, 1))).max() < 0.1 and np.abs(off).mean() < 0.6


def test_downscaling_averages_and_does_not_alias(tmp_path):
    picture = np.zeros((512, 1024, 3), np.uint8)
    picture[:, ::2] = 255  # a one-pixel grating: point sampling would give black or white
    path = tmp_path / "grating.png"
    Image.fromarray(picture).save(path)
    frames = read_panorama(path, duration_s=0.5, height=HEIGHT).frames
    assert (frames - 0.5).abs().max() < 0.01


# Sound ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "codec", "layout", "kind"),
    [
        (1, "flac", "mono", "mono"),
        (2, "flac", "stereo", "stereo"),
        (4, "flac", "quad", "ambix"),
        (4, "flac", "4.0", "ambix"),
        (6, "flac", "5.1", "other"),
    ],
)
@pytest.mark.parametrize("rate", [44100, 22050])
def test_channels_and_rate_are_kept(tmp_path, channels, codec, layout, kind, rate):
    sound = noise(channels, rate)
    path = write_video(tmp_path / "c.mkv", constant(8, 1), sound=sound, rate_hz=rate, sound_codec=codec, layout=layout)
    clip = read_panorama(path, duration_s=1.0, height=HEIGHT)
    assert clip.sound.sample_rate_hz == rate and clip.sound.layout == kind
    assert (clip.sound.waveform - torch.from_numpy(sound)).abs().max() < 1e-4
    assert any("taken as AmbiX" in n for n in clip.notices) == (kind == "ambix")


def test_late_sound_is_padded_in_front(tmp_path):
    sound = noise(1, 48000)
    path = write_video(tmp_path / "late.mkv", constant(8, 2), sound=sound, sound_codec="flac", sound_start_s=0.5)
    clip = read_panorama(path, duration_s=1.0, height=HEIGHT)
    assert clip.sound.waveform[0, :24000].abs().sum() == 0
    assert (clip.sound.waveform[0, 24000:] - torch.from_numpy(sound[0, :24000])).abs().max() < 1e-4
    assert any("starts 0.50 s late" in n for n in clip.notices)


def test_sound_that_begins_behind_the_interval_is_silence_that_keeps_its_channels(tmp_path):
    sound = noise(2, 48000)
    path = write_video(tmp_path / "late.mkv", constant(8, 2), sound=sound, sound_codec="flac", sound_start_s=0.7)
    clip = read_panorama(path, duration_s=0.5, height=16)
    assert clip.sound.waveform.shape == (2, 24000) and clip.sound.waveform.abs().max() == 0
    assert "The sound track has nothing in this interval: silence is used." in clip.notices


def test_no_sound_track(tmp_path):
    clip = read_panorama(write_video(tmp_path / "mute.mp4", constant(8, 1)), duration_s=1.0, height=HEIGHT)
    assert clip.sound is None and any("no sound track" in n for n in clip.notices)


def test_bad_and_loud_samples(tmp_path):
    from scipy.io import wavfile

    sound = noise(4, 4800)
    sound[0, 100], sound[1, 200], sound[2, 300], sound[3, 400] = np.nan, np.inf, -np.inf, 8.0
    wavfile.write(tmp_path / "x.wav", 48000, sound.T)
    read, notices = read_sound(tmp_path / "x.wav")
    assert read.layout == "ambix" and torch.isfinite(read.waveform).all()
    assert read.waveform[0, 100] == read.waveform[1, 200] == read.waveform[2, 300] == 0
    assert read.waveform[3, 400] == 8.0
    assert any(n.startswith("3 samples") for n in notices)


def test_sound_track_choice():
    path = data_path("bad/27_two_audio_tracks_stereo_then_foa.mp4")
    default = read_panorama(path, duration_s=1.0, height=HEIGHT)
    assert default.sound.layout == "stereo" and any("2 sound tracks" in n for n in default.notices)
    assert read_panorama(path, duration_s=1.0, height=HEIGHT, audio_track=2).sound.layout == "ambix"
    for wrong in (0, 3):
        with pytest.raises(InputError, match="has 2, counted from 1"):
            read_panorama(path, height=HEIGHT, audio_track=wrong)


@pytest.mark.parametrize(
    ("name", "assumed"),
    [("congo_eye_1024x512_h264_foa_aac_v2meta.mp4", False), ("congo_eye_1024x512_vp9_foa_opus_family2.webm", False)],
)
def test_real_ambisonic_sound_has_its_direction(name, assumed):
    """The first second holds birds at azimuth 60, elevation 20 (intensity vector, truth file of the same name)."""
    clip = read_panorama(data_path(f"video/{name}"), duration_s=1.5, height=HEIGHT)
    assert clip.sound.layout == "ambix" and any("taken as AmbiX" in n for n in clip.notices) == assumed
    w, y, z, x = clip.sound.waveform
    azimuth = torch.rad2deg(torch.atan2((w * y).sum(), (w * x).sum()))
    elevation = torch.rad2deg(torch.atan2((w * z).sum(), torch.hypot((w * x).sum(), (w * y).sum())))
    assert azimuth == pytest.approx(60, abs=4) and elevation == pytest.approx(20, abs=4)


@pytest.mark.parametrize("start_s", [0.75, 1.9, 3.0])
@pytest.mark.parametrize(
    "name", ["congo_eye_1024x512_h264_foa_aac_v2meta.mp4", "congo_eye_1024x512_vp9_foa_opus_family2.webm"]
)
def test_sound_after_a_seek_is_the_same_sound(name, start_s):
    whole, _ = read_sound(data_path(f"video/{name}"), duration_s=4.0)
    part, _ = read_sound(data_path(f"video/{name}"), start_s=start_s, duration_s=0.5)
    begin = round(start_s * 48000)
    assert (part.waveform - whole.waveform[:, begin : begin + 24000]).abs().max() < 1e-5


# Real stereo, VR180, stills -------------------------------------------------------------------------------------------


def test_real_stereo_takes_the_left_eye():
    path = data_path("video/gvr_congo_1920x1080_TB_stereo3d.mp4")
    left = read_panorama(path, duration_s=0.2, height=HEIGHT)
    right = read_panorama(path, duration_s=0.2, height=HEIGHT, eye="right")
    assert any("left eye is used" in n for n in left.notices) and not [n for n in left.notices if "stretched" in n]
    assert torch.equal(left.frames, read_panorama(path, duration_s=0.2, height=HEIGHT, eye="left").frames)
    # Two eyes of one scene: alike, not equal.
    assert 0.001 < (left.frames - right.frames).abs().mean() < 0.05


def test_wrong_stereo_metadata_is_noticed():
    clip = read_panorama(data_path("video/congo_eye_960x480_24fps_av1_opus.webm"), duration_s=0.2, height=HEIGHT)
    other = read_panorama(data_path("video/congo_eye_1280x640_hevc_aacmono.mp4"), duration_s=0.2, height=HEIGHT)
    assert any("halves differ" in n for n in clip.notices)
    assert (clip.frames[0] - other.frames[0]).abs().mean() < 0.03


def save_still(path, mode: str) -> None:
    picture = Image.fromarray(quadrants(64, 128))
    if mode == "I;16":
        Image.fromarray(np.full((64, 128), 32768, np.uint16)).save(path)
    elif mode == "RGBA":
        alpha = Image.new("L", (128, 64), 255)
        alpha.paste(0, (0, 32, 128, 64))
        picture.putalpha(alpha)
        picture.save(path)
    else:
        picture.convert(mode).save(path)


@pytest.mark.parametrize(
    ("mode", "suffix", "colours"),
    [
        ("RGB", "png", ["red", "green", "blue", "white"]),
        ("CMYK", "jpg", ["red", "green", "blue", "white"]),
        ("P", "png", ["red", "green", "blue", "white"]),
        ("RGBA", "png", ["red", "green", "?", "?"]),
        ("I;16", "png", ["white"] * 4),
    ],
)
def test_stills(tmp_path, mode, suffix, colours):
    save_still(tmp_path / f"still.{suffix}", mode)
    clip = read_panorama(tmp_path / f"still.{suffix}", height=HEIGHT)
    assert clip.frames.shape == (32, 3, HEIGHT, 2 * HEIGHT) and torch.equal(clip.frames[0], clip.frames[31])
    assert corner_colours(clip.frames[0]) == colours
    assert any("still picture" in n for n in clip.notices) and clip.sound is None
    if mode == "I;16":
        assert clip.frames.mean() == pytest.approx(0.5, abs=0.01)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(quadrants(128, 64)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    clip = read_panorama(tmp_path / "turned.jpg", height=HEIGHT)
    assert corner_colours(clip.frames[0]) == ["blue", "red", "white", "green"]
    assert not [n for n in clip.notices if "stretched" in n]


# Requests that make no sense ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_s": -1.0}, "start of -1 s"),
        ({"start_s": float("nan")}, "start of nan s"),
        ({"duration_s": 0.0}, "duration of 0 s"),
        ({"duration_s": float("inf")}, "duration of inf s"),
        ({"fps": 0.0}, "0 frames per second"),
        ({"fps": float("nan")}, "nan frames per second"),
        ({"height": 4}, "height of 4"),
        ({"height": 4096, "duration_s": 100.0}, "GiB"),
        ({"eye": "third"}, "eye 'third'"),
        ({"start_s": 1e300}, "longer than any recording"),
        ({"duration_s": 1e300}, "longer than any recording"),
        ({"audio_track": 1}, "has 0"),
    ],
)
def test_wrong_requests(tmp_path, options, words):
    path = write_video(tmp_path / "c.mp4", constant(8, 0.5))
    with pytest.raises(InputError, match=words):
        read_panorama(path, **options)


def test_limits_are_explicit_and_adjustable(tmp_path, monkeypatch):
    path = write_video(tmp_path / "c.mp4", constant(8, 0.5), sound=noise(2, 24000))
    monkeypatch.setenv("CON360_MAX_PIXELS", "1000")
    with pytest.raises(InputError, match="at most 1000 pixels.*raise CON360_MAX_PIXELS"):
        read_panorama(path)
    monkeypatch.setenv("CON360_MAX_PIXELS", "")
    monkeypatch.setenv("CON360_MAX_CLIP_GIB", "0.0001")
    with pytest.raises(InputError, match="frames of .* GiB.*CON360_MAX_CLIP_GIB"):
        read_panorama(path)
    with pytest.raises(InputError, match="the sound of c.mp4 .*CON360_MAX_CLIP_GIB"):
        read_sound(path)
    monkeypatch.setenv("CON360_MAX_CLIP_GIB", "much")
    with pytest.raises(InputError, match="'much'; wanted a positive number"):
        read_sound(path)


def test_a_change_of_frame_size_gives_a_notice(tmp_path):
    # MPEG-TS files can be joined byte by byte.
    parts = [
        write_video(tmp_path / f"{i}.ts", constant(8, 0.5), size=size) for i, size in enumerate(((128, 64), (256, 128)))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(p.read_bytes() for p in parts))
    clip = read_panorama(joined, duration_s=1.0, height=32)
    assert clip.frames.shape == (8, 3, 32, 64) and any("size changes" in n for n in clip.notices)


def test_reading_a_playlist_is_refused(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        read_panorama(tmp_path / "list.mp4")


def test_tracks_that_only_reading_finds_do_not_end_the_process(tmp_path):
    """An MPEG transport stream without its tables: no track is known when the file is opened."""
    path, tables = tmp_path / "tables.ts", (0, 0x1000)
    with av.open(str(path), "w", format="mpegts") as container:
        streams = [container.add_stream("mp2", rate=48000) for _ in range(12)]
        for stream in streams:
            for _ in range(40):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), format="s16", layout="stereo")
                frame.sample_rate = 48000
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    data = path.read_bytes()
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    bare = [p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF not in tables]
    assert len(bare) < len(packets)
    path.write_bytes(b"".join(bare))
    code = "import sys; from pathlib import Path; from con360.media.info import open_media\n"
    code += "with open_media(Path(sys.argv[1])) as container: print(len(container.streams))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "12"), done.stderr
