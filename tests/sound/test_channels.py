"""Meaning of channels from tags, count and choice; levels and directions of the sound made from them."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.special import lpmv
from shared_data import data_path
from synthetic_clips import noise, write_video

from con360.errors import InputError
from con360.media import spherical_tags
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound
from con360.metrics.audio import foa_angles_deg
from con360.records import Sound, View
from con360.sound.ambisonics import encode, from_ambix, to_ambix
from con360.sound.channels import AMBISONICS, FUMA, AmbisonicTags, channel_meaning, sn3d_of
from con360.sound.levels import downmix_matrix, for_clip, resample, resample_blocks, to_mono
from con360.sound.views import view_sound

RATE = 48000


def level_db(waveform: torch.Tensor | np.ndarray) -> float:
    return 10 * math.log10(float(torch.as_tensor(waveform).double().square().mean()) + 1e-20)


def sn3d(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    """Sixteen spherical harmonics in ACN order with SN3D gains, by their definition."""
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    found = []
    for acn in range(16):
        n = math.isqrt(acn)
        m = acn - n * n - n
        scale = math.sqrt((2 - (m == 0)) * math.factorial(n - abs(m)) / math.factorial(n + abs(m)))
        around = np.cos(m * azimuth) if m >= 0 else np.sin(-m * azimuth)
        found.append(scale * (-1) ** m * lpmv(abs(m), n, np.sin(elevation)) * around)
    return np.stack(found)


def plane_wave(order: int, kind: str = "ambix", azimuth: float = 60.0, elevation: float = 20.0) -> np.ndarray:
    """`[C, N]` of a tone from a direction (azimuth to the left) in one of the conventions."""
    count, mono = (order + 1) ** 2, 0.25 * np.sin(np.arange(RATE // 2) * 0.06)
    field = sn3d(np.array(azimuth), np.array(elevation))[:count]
    out = np.zeros(count)
    for acn, (source, gain) in enumerate(sn3d_of(kind, count)):
        out[source] = field[acn] / gain
    return (out[:, None] * mono).astype(np.float32)


def wav(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    wavfile.write(path, rate, np.ascontiguousarray(waveform.T))
    return path


def with_sa3d(path: Path, order: int, channel_map: tuple[int, ...], normalization: int = 0, kind: int = 0) -> Path:
    """The same MP4, its sound tagged."""
    fields = (0, kind, order, 0, normalization, len(channel_map), *channel_map)
    extra = spherical_tags.box(b"SA3D", struct.pack(f">BBIBBI{len(channel_map)}I", *fields))
    edit = spherical_tags._in_entries(spherical_tags.SOUND_FIELDS, lambda _: extra)
    data, parts = path.read_bytes(), []
    boxes = spherical_tags.top_boxes(path)
    assert [name for name, _, _ in boxes][-1] == b"moov"  # no box behind it would move
    for name, at, size in boxes:
        body = data[at + 8 : at + size]
        parts.append(data[at : at + size] if name != b"moov" else spherical_tags.box(
            name, spherical_tags.edited(body, edit)))  # fmt: skip
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(
    ("file", "kind"), [("SN3D_ACN", "auto"), ("SN3D_ACN", "ambix"), ("N3D_ACN", "n3d"), ("FuMa", "fuma")]
)
def test_one_recording_in_three_conventions_reads_the_same(file: str, kind: str) -> None:
    sound, _ = read_sound(data_path(f"foa/violin_{file}_az135_el0.wav"), ambisonics=kind)
    yaw, pitch = foa_angles_deg(sound)
    assert (sound.layout, yaw, pitch) == ("ambix", pytest.approx(-135, abs=0.01), pytest.approx(0, abs=0.01))
    assert [level_db(channel) for channel in sound.waveform[[0, 1, 3]]] == pytest.approx(
        [-23.42, -26.43, -26.43], abs=0.01
    )


def test_the_fuma_table_is_its_definition() -> None:
    # MaxN: each component's largest value on the sphere is 1; W alone is at -3 dB.
    azimuth, elevation = np.meshgrid(np.arange(-180, 180, 1.0), np.arange(-90, 90.25, 0.25))
    largest = np.abs(sn3d(azimuth, elevation)).max((1, 2))
    largest[0] = math.sqrt(2)
    assert [gain for _, gain in FUMA] == pytest.approx(largest.tolist(), abs=2e-4)
    order = [name for name, _ in sorted(zip("WYZXVTRSUQOMKLNP", FUMA, strict=True), key=lambda pair: pair[1][0])]
    assert "".join(order) == "WXYZRSTUVKLMNOPQ"


@pytest.mark.parametrize("order", [1, 2, 3])
def test_each_convention_gives_one_field_of_each_order(tmp_path: Path, order: int) -> None:
    ambix = plane_wave(order)
    turned = to_ambix(torch.from_numpy(plane_wave(order, "fuma")), "fuma").numpy()
    assert np.abs(turned - ambix).max() < 1e-6
    for kind in ("ambix", "n3d", "fuma"):
        sound, notices = read_sound(wav(tmp_path / f"{kind}.wav", plane_wave(order, kind)), ambisonics=kind)
        assert np.abs(sound.waveform.numpy() - ambix).max() < 1e-6 and notices == ()
        assert foa_angles_deg(sound) == (pytest.approx(-60, abs=0.01), pytest.approx(20, abs=0.01))


@pytest.mark.parametrize("kind", ["ambix", "n3d", "fuma"])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_conventions_go_both_ways(kind: str, order: int) -> None:
    ambix = torch.from_numpy(plane_wave(order))
    there = from_ambix(ambix, kind)
    assert (there - torch.from_numpy(plane_wave(order, kind))).abs().max() < 1e-6
    assert (to_ambix(there, kind) - ambix).abs().max() < 1e-6


def test_conventions_that_are_none_are_refused() -> None:
    for channels, kind, words in ((4, "maxn", "'maxn' is unknown"), (5, "fuma", "has 1, 4, 9 or 16 channels; got 5"),
                                  (25, "n3d", "got 25"), (0, "n3d", "got 0")):  # fmt: skip
        for convert in (to_ambix, from_ambix):
            with pytest.raises(InputError, match=words):
                convert(torch.zeros(channels, 3), kind)


@pytest.mark.parametrize("order", [2, 3])
def test_nine_and_sixteen_untagged_channels_are_ambix(tmp_path: Path, order: int) -> None:
    source = plane_wave(order)
    sound, (taken,) = read_sound(wav(tmp_path / "a.wav", source))
    assert f"AmbiX of order {order}" in taken and sound.ambisonic_order == order
    # The mean of all channels is at least 15 dB lower.
    assert level_db(to_mono(sound).waveform) == pytest.approx(level_db(source[0]), abs=0.01)
    assert foa_angles_deg(sound)[0] == pytest.approx(-60, abs=0.01)


@pytest.mark.parametrize(("count", "name"), [(4, "quad"), (6, "5.1"), (8, "7.1")])
def test_channels_without_names_are_loudspeakers_in_waves_order(tmp_path: Path, count: int, name: str) -> None:
    path = wav(tmp_path / "a.wav", noise(count, 4800))
    sound, notices = read_sound(path, ambisonics="none")
    assert sound.layout == "other" and len(sound.speakers) == count and f"as {name} (FL, FR" in notices[0]
    assert (read_sound(path)[0].layout == "other") is (count != 4)


def test_the_recorded_eight_channels_are_no_ambisonics() -> None:
    sound, notices = read_sound(data_path("bad/20_eight_channel_toa_ch0-7.wav"))
    assert sound.layout == "other" and any("7.1" in notice for notice in notices)
    for kind in ("ambix", "n3d", "fuma"):
        with pytest.raises(InputError, match="4, 9 or 16 channels.*the sound has 8"):
            read_sound(data_path("bad/20_eight_channel_toa_ch0-7.wav"), ambisonics=kind)


def test_wrong_choices_are_refused_before_the_picture_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", [i / 8 for i in range(8)], sound=noise(2, RATE))
    monkeypatch.setattr("con360.media.reader._read_frames", lambda *_: pytest.fail("the picture was decoded"))
    for options, words in (({"ambisonics": "fuma"}, "FuMa has"), ({"audio_track": 3}, "sound track 3"),
                           ({"head_locked": True}, "6, 11 or 18"), ({"ambisonics": "bformat"}, "unknown"),
                           ({"ambisonics": "none", "head_locked": True}, "leave one")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            read_panorama(path, duration_s=1.0, height=64, **options)


# Tags -----------------------------------------------------------------------------------------------------------------


def mp4(path: Path, sound: np.ndarray, layout: str) -> Path:
    return write_video(path, [i / 8 for i in range(4)], sound=sound, layout=layout)


def test_n3d_by_its_tags_is_read_as_n3d(tmp_path: Path) -> None:
    path = with_sa3d(mp4(tmp_path / "a.mp4", plane_wave(1, "n3d"), "4.0"), 1, (0, 1, 2, 3), normalization=1)
    sound, notices = read_sound(path)
    assert sound.layout == "ambix" and notices == ()
    assert foa_angles_deg(sound) == (pytest.approx(-60, abs=0.5), pytest.approx(20, abs=0.5))
    wanted = [level_db(channel[2000:-2000]) for channel in plane_wave(1)]
    assert [level_db(channel[2000:-2000]) for channel in sound.waveform] == pytest.approx(wanted, abs=0.1)


def field_and_pair() -> np.ndarray:
    t = np.arange(RATE // 2)
    pair = np.stack((0.2 * np.sin(t * 0.02), 0.1 * np.sin(t * 0.03))).astype(np.float32)
    return np.concatenate((plane_wave(1), pair))


@pytest.mark.parametrize("channel_map", [(0, 1, 2, 3, 4, 5), (4, 5, 0, 1, 2, 3)])
def test_a_head_locked_pair_by_sa3d(tmp_path: Path, channel_map: tuple[int, ...]) -> None:
    source = field_and_pair()
    path = mp4(tmp_path / "a.mp4", source[list(channel_map)], "hexagonal")
    sound, notices = read_sound(with_sa3d(path, 1, channel_map, kind=0x80))
    assert (sound.layout, notices) == ("ambix", ())
    # As close as AAC comes at 128 kbit/s for six channels.
    levels = [[level_db(channel[2000:-2000]) for channel in waveform] for waveform in (sound.waveform, source)]
    assert levels[0] == pytest.approx(levels[1], abs=0.5)
    assert probe(path).audio_tracks[0].tags == AmbisonicTags(1, channel_map, "ambix", head_locked=True)


def test_a_head_locked_pair_by_opus_mapping(tmp_path: Path) -> None:
    source = field_and_pair()
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libopus", rate=RATE, options={"mapping_family": "2"})
        stream.codec_context.layout, stream.codec_context.format = "ambisonic 1+stereo", "flt"
        for at in range(0, source.shape[1] // 960 * 960, 960):
            block = np.ascontiguousarray(source[:, at : at + 960].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="ambisonic 1+stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (track,) = probe(tmp_path / "a.webm").audio_tracks
    assert (track.label, track.layout, track.notices) == ("ambisonic 1+stereo", "ambix", ())
    sound, _ = read_sound(tmp_path / "a.webm", start_s=0.1, duration_s=0.3)
    wanted = [level_db(channel[4800:19200]) for channel in source]
    assert [level_db(channel) for channel in sound.waveform] == pytest.approx(wanted, abs=0.3)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_head_locked_pair_by_choice(tmp_path: Path, order: int) -> None:
    pair = field_and_pair()[4:]
    path = wav(tmp_path / "a.wav", np.concatenate((plane_wave(order, "n3d"), pair)))
    sound, _ = read_sound(path, ambisonics="n3d", head_locked=True)
    assert np.abs(sound.waveform.numpy() - np.concatenate((plane_wave(order), pair))).max() < 1e-6
    if order == 1:
        assert read_sound(path)[0].layout == "other"
        with pytest.raises(InputError, match="head-locked pair, or choose"):
            read_sound(path, ambisonics="ambix")


def test_head_locked_adds_to_what_tags_say() -> None:
    tags = AmbisonicTags(1, (4, 5, 0, 1, 2, 3), "n3d")
    heard = channel_meaning(6, "hexagonal", (), tags)
    assert len(heard.picks) == 4 and "(6 channels); 4 of them are used" in heard.notices[0]
    heard = channel_meaning(6, "hexagonal", (), tags, head_locked=True)
    assert [source for source, _ in heard.picks] == [2, 3, 4, 5, 0, 1] and heard.notices == ()
    assert heard.picks[1][1] == pytest.approx(3**-0.5)


def test_tags_of_high_or_incomplete_orders_give_whole_orders() -> None:
    fourth = channel_meaning(25, "25 channels", (), AmbisonicTags(4, tuple(range(25)), "n3d"))
    assert len(fourth.picks) == 16 and fourth.notices == (
        "the sound is Ambisonics of order 4 (25 channels); 16 of them are used, order 3",
    )
    # Eight of the nine of order 2, then a pair.
    tags = AmbisonicTags(2, (0, 1, 2, 3, 4, 5, 6, 7, 9, 10), "ambix", head_locked=True)
    heard = channel_meaning(10, "10 channels", (), tags)
    assert [source for source, _ in heard.picks] == [0, 1, 2, 3, 8, 9] and "6 of them" in heard.notices[0]
    named = channel_meaning(11, "ambisonic 2+stereo", (*(f"AMBI{i}" for i in range(9)), "FL", "FR"))
    assert (named.layout, named.picks, named.notices) == ("ambix", None, ())


def test_tags_of_unknown_kinds_have_no_direction() -> None:
    for tags in (AmbisonicTags(1, (0, 1, 2, 3), ""), AmbisonicTags(1, (0, 1, 2, 2)), AmbisonicTags(0, (0, 0, 0, 0))):
        heard = channel_meaning(4, "4.0", ("FL", "FR", "FC", "BC"), tags)
        assert (heard.layout, heard.speakers) == ("other", ()) and "without direction" in heard.notices[0]
    assert channel_meaning(4, "4.0", (), AmbisonicTags(1, (0, 1, 2, 3), ""), ambisonics="ambix").layout == "ambix"


def test_channels_of_any_order_are_known_by_ffmpegs_names() -> None:
    heard = channel_meaning(4, "4 channels (AMBI0+AMBI3+AMBI1+AMBI2)", ("AMBI0", "AMBI3", "AMBI1", "AMBI2"))
    assert heard.picks == ((0, 1.0), (2, 1.0), (3, 1.0), (1, 1.0)) and heard.notices == ()
    speakers = ("FC", "FL", "FR", "SL", "SR", "LFE")
    assert channel_meaning(6, "6 channels (FC+FL+FR+SL+SR+LFE)", speakers).speakers == speakers
    assert downmix_matrix(speakers, 1)[0].tolist() == pytest.approx([1, HALF, HALF, 0.5, 0.5, 0])


def test_the_names_of_conventions() -> None:
    assert AMBISONICS == ("auto", "ambix", "n3d", "fuma", "none")


# Mixing ---------------------------------------------------------------------------------------------------------------

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("layout", "mono", "left", "right"),
    [
        ("5.1", [HALF, HALF, 1, 0, 0.5, 0.5], [1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF]),
        ("5.1(side)", [HALF, HALF, 1, 0, 0.5, 0.5], [1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF]),
        ("7.1", [HALF, HALF, 1, 0, 0.5, 0.5, 0.5, 0.5], [1, 0, HALF, 0, HALF, 0, HALF, 0],
         [0, 1, HALF, 0, 0, HALF, 0, HALF]),
        ("6.1", [HALF, HALF, 1, 0, HALF, 0.5, 0.5], [1, 0, HALF, 0, 0.5, HALF, 0], [0, 1, HALF, 0, 0.5, 0, HALF]),
        ("7.1(wide)", [HALF, HALF, 1, 0, 0.5, 0.5, HALF, HALF], [1, 0, HALF, 0, HALF, 0, 1, 0],
         [0, 1, HALF, 0, 0, HALF, 0, 1]),
    ],
)  # fmt: skip
def test_loudspeakers_by_bs775(layout: str, mono: list[float], left: list[float], right: list[float]) -> None:
    speakers = tuple(channel.name for channel in av.AudioLayout(layout).channels)
    assert channel_meaning(len(speakers), layout, speakers).speakers == speakers
    assert downmix_matrix(speakers, 1).tolist() == [pytest.approx(mono)]
    assert downmix_matrix(speakers, 2).tolist() == [pytest.approx(left), pytest.approx(right)]


def test_every_loudspeaker_that_ffmpeg_names_has_a_place() -> None:
    for name in ("22.2", "9.1.6", "hexadecagonal", "5.1.4", "3.1.2", "cube", "octagonal"):
        speakers = tuple(channel.name for channel in av.AudioLayout(name).channels)
        heard = channel_meaning(len(speakers), name + "?", speakers)
        assert heard.speakers == speakers, name
        assert (downmix_matrix(speakers, 1)[0] > 0).sum() == sum(not s.startswith("LFE") for s in speakers)


def test_dialogue_keeps_its_level(tmp_path: Path) -> None:
    six = np.zeros((6, RATE), np.float32)
    six[2] = 0.5 * np.sin(np.arange(RATE) * 0.06)
    six[3] = 0.5 * np.sin(np.arange(RATE) * 0.005)
    sound, _ = read_sound(mp4(tmp_path / "a.mp4", six, "5.1"))
    inner, wanted = slice(2000, -2000), level_db(six[2, 2000:-2000])
    # A mean of all six channels, the LFE among them, lowers it by 15.6 dB.
    assert level_db(to_mono(sound).waveform[:, inner]) == pytest.approx(wanted, abs=0.1)
    stereo, notices = for_clip(sound)
    assert "BS.775, without LFE" in notices[0]
    assert [level_db(channel[inner]) for channel in stereo.waveform] == pytest.approx([wanted - 3.01] * 2, abs=0.1)


def test_a_view_hears_the_pair_as_it_is() -> None:
    field, pair = encode(torch.ones(100), 0.0, 0.0), torch.tensor([[0.2], [0.4]]).expand(-1, 100)
    sound = Sound(torch.cat((field, pair)), RATE, "ambix")
    for yaw, front in ((0.0, 1.0), (180.0, 0.5)):
        heard = view_sound(sound, View(yaw), 8.0).waveform
        assert heard.shape == (1, 100) and float(heard[0, 0]) == pytest.approx(front + HALF * 0.6, abs=1e-5)
    assert float(to_mono(sound).waveform[0, 0]) == pytest.approx(1 + HALF * 0.6, abs=1e-5)
    kept, notices = for_clip(sound)
    assert torch.equal(kept.waveform, field) and "left out" in notices[0]


# Rates ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "new"), [(192000, 96000), (37800, 44100), (44099, 44100), (22254, 24000), (8000, 96000), (191999, 96000)]
)
def test_blocks_are_resampled_as_the_whole(rate: int, new: int) -> None:
    waveform = torch.randn(2, round(4.3 * rate) + 7, generator=torch.Generator().manual_seed(0))
    whole = resample(Sound(waveform, rate, "stereo"), new).waveform
    blocks = list(resample_blocks(iter(waveform.split(4097, dim=1)), rate, new))
    assert len(blocks) > 1
    assert torch.allclose(torch.cat(blocks, dim=1), whole, atol=1e-6)


def test_a_short_sound_is_resampled_in_one_piece() -> None:
    waveform = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    (only,) = resample_blocks(iter((waveform,)), 37800, 44100)
    assert torch.equal(only, resample(Sound(waveform, 37800), 44100).waveform)
    assert list(resample_blocks(iter(()), 37800, 44100)) == []
