"""A part of a clip is copied from its key frame on; players begin and end where it was asked to."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from shared_data import data_path
from synthetic_clips import numbered_frame, read_number

from con360.errors import InputError
from con360.media.copying import copied_clip
from con360.media.info import probe
from con360.media.reader import read_panorama
from con360.media.track import choose_track, stream_track

RATE, FPS = 16000, 10.0


@pytest.fixture(scope="module", params=[{}, {"bf": "0"}, {"bf": "3"}], ids=["usual", "no B frames", "three B frames"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={**request.param, "g": "12"})
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(numbered_frame(i), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def part(clip: Path, out: Path, start_s: float, stop_s: float) -> float:
    with copied_clip(probe(clip), out, (4, RATE), "mono", start_s, stop_s) as copied:
        return copied.copy_with(iter([0.1 * np.ones((4, 5 * RATE), np.float32)]))


@pytest.mark.parametrize(("start_s", "stop_s"), [(0.0, 1.0), (1.2, 2.0), (1.7, 3.1), (3.0, 9.0), (2.5, float("inf"))])
def test_the_pictures_are_those_of_the_part(clip: Path, tmp_path: Path, start_s: float, stop_s: float) -> None:
    out = tmp_path / "out.mp4"
    length_s = min(stop_s, 5.0) - start_s
    assert part(clip, out, start_s, stop_s) == pytest.approx(length_s)
    info = probe(out)
    assert info.duration_s == pytest.approx(length_s, abs=1e-3)
    shown = read_panorama(out, duration_s=length_s, fps=FPS, height=64, eye="whole").frames
    assert [read_number(frame) for frame in shown] == list(
        range(round(start_s * FPS), round((start_s + length_s) * FPS))
    )
    track, _ = choose_track(info, None)
    assert track is not None
    sound = np.concatenate(list(stream_track(info, track, 0.0, float("inf"), [])), axis=1)
    assert sound.shape[1] == round(length_s * RATE)


def test_a_key_frame_alone_needs_nothing_before_it(clip: Path, tmp_path: Path) -> None:
    part(clip, tmp_path / "out.mp4", 1.2, 2.0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(container.demux(container.streams.video[0]))
        assert first.is_keyframe and first.pts == 0


def test_a_start_behind_the_end_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture that can be copied"):
        part(clip, tmp_path / "out.mp4", 7.0, 8.0)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["congo_eye_1280x640_hevc_aacmono.mp4", "congo_eye_1024x512_h264_foa_aac_v2meta.mp4"],
)  # fmt: skip
def test_parts_of_real_files(tmp_path: Path, name: str) -> None:
    source = data_path(f"video/{name}")
    part(source, tmp_path / "out.mp4", 1.03, 1.93)
    wanted = read_panorama(source, start_s=1.03, duration_s=0.9, fps=8.0, height=64, eye="whole").frames
    came = read_panorama(tmp_path / "out.mp4", duration_s=0.9, fps=8.0, height=64, eye="whole").frames
    # FFmpeg leaves out a picture that begins before the part; the next one stands in its place.
    assert (came[1:] - wanted[1:]).abs().max() < 0.03
    assert (came[0] - wanted[0]).abs().mean() < 0.02
