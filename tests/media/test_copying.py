"""A clip's picture is copied bit for bit under new sound, at its own times, with spherical metadata."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from shared_data import data_path
from synthetic_clips import write_video

from con360.errors import InputError
from con360.media.copying import copied_clip
from con360.media.info import probe
from con360.media.reader import PanoramaStream
from con360.media.spherical_tags import tag_file
from con360.media.track import choose_track, stream_track

CLIPS = [
    "congo_eye_1024x512_vp9_foa_opus_family2.webm", "congo_eye_1280x640_hevc_aacmono.mp4",
    "congo_eye_960x480_24fps_av1_opus.webm", "congo_eye_1920x1080_stretched_v1meta.mp4",
]  # fmt: skip


def packets(path: Path) -> list[tuple[float, bytes]]:
    """Time and bytes of each packet of the picture."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.pts is not None]


def copied(source: Path, out: Path, sound: np.ndarray, rate: int) -> Path:
    info = probe(source)
    with copied_clip(info, out, (len(sound), rate), "mono") as clip:
        at = 0
        for time_s in clip.picture():
            clip.add_sound(sound[:, at : round(time_s * rate)])
            at = max(at, round(time_s * rate))
    return out


def low_noise(channels: int, num_samples: int) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((channels, num_samples))
    return np.stack([np.convolve(one, np.ones(32) / 32, "same") for one in noise]).astype(np.float32)


@pytest.mark.parametrize("name", CLIPS)
def test_every_codec_keeps_its_packets_and_times(tmp_path: Path, name: str) -> None:
    source = data_path(f"video/{name}")
    out = copied(source, tmp_path / "out.mp4", low_noise(4, 48000), 48000)
    before, after = packets(source), packets(out)
    assert [data for _, data in before] == [data for _, data in after]
    shift = probe(source).origin_s
    assert np.allclose([t - shift for t, _ in before], [t for t, _ in after], atol=1e-4)
    made = probe(out)
    assert (made.spherical.projection, made.spherical.stereo) == ("equirectangular", "mono")
    assert made.audio_tracks[0].tags is not None and made.audio_tracks[0].layout == "ambix"


@pytest.mark.parametrize("channels", [1, 4, 9, 16])
def test_the_new_sound_is_in_time_in_aac_and_opus(tmp_path: Path, channels: int) -> None:
    source = write_video(tmp_path / "in.mp4", [i / 10 for i in range(20)])
    sound = low_noise(channels, 96000)
    out = probe(copied(source, tmp_path / "out.mp4", sound, 48000))
    track, _ = choose_track(out, None)
    assert track is not None and track.codec == ("opus" if channels > 4 else "aac")
    heard = np.concatenate(list(stream_track(out, track, 0.0, np.inf, [])), axis=1)
    assert heard.shape == (channels, 96000)
    for one, other in zip(sound, heard, strict=True):
        parts = one[20000:30000], [other[20000 + lag : 30000 + lag] for lag in (-2, -1, 0, 1, 2)]
        assert int(np.argmax([parts[0] @ part for part in parts[1]])) == 2
    assert np.sqrt(np.mean((sound - heard) ** 2)) < 0.2 * sound.std()


def test_stereo_packing_and_pose_are_kept(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [0.0, 0.1])
    tag_file(source, panorama="top-bottom", pose_deg=(30.0, -10.0, 5.0))
    info = probe(source)
    with copied_clip(info, tmp_path / "out.mp4", (1, 48000), "top-bottom") as clip:
        assert list(clip.picture()) != []
        clip.add_sound(low_noise(1, 9600))
    assert probe(tmp_path / "out.mp4").spherical == info.spherical
    assert info.spherical.pose_deg == (30.0, -10.0, 5.0)


def test_hevc_stays_playable_on_apples_players(tmp_path: Path) -> None:
    source = data_path("video/congo_eye_1280x640_hevc_aacmono.mp4")
    out = copied(source, tmp_path / "out.mp4", low_noise(1, 48000), 48000)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("name", ["in.ts", "in.mkv", "in.mov"])
def test_other_containers_are_copied_too(tmp_path: Path, name: str) -> None:
    source = write_video(tmp_path / name, [i / 10 for i in range(20)])
    out = copied(source, tmp_path / "out.mp4", low_noise(1, 48000), 48000)
    before = [frame for _, frame in PanoramaStream(probe(source)).frames()]
    after = list(PanoramaStream(probe(out)).frames())
    assert [round(10 * time_s) for time_s, _ in after] == list(range(20))
    for one, (_, other) in zip(before, after, strict=True):
        assert np.array_equal(one(), other())


@pytest.mark.parametrize("name", ["in.h264", "in.avi"])
def test_pictures_without_times_are_refused(tmp_path: Path, name: str) -> None:
    source = write_video(tmp_path / name, [i / 10 for i in range(20)], clock=10)
    with pytest.raises(InputError, match="no times of their own"):
        copied(source, tmp_path / "out.mp4", low_noise(1, 9600), 48000)
    assert not (tmp_path / "out.mp4").exists()


def test_a_codec_that_mp4_does_not_hold_is_named(tmp_path: Path) -> None:
    source = data_path("video/congo_eye_640x320_15fps_prores_pcm.mov")
    with pytest.raises(InputError, match="coded as prores"), copied_clip(probe(source), tmp_path / "x.mp4", (1, 48000)):
        pass
    assert list(tmp_path.iterdir()) == []
