from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_clips import noise, write_sound

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MIB = 600
SECONDS, FPS, WIDTH, HEIGHT = 60, 15, 3840, 1920

READ = r"""
import re, resource, sys
import av, cv2, torch
from con360.media.reader import read_panorama
pages = int(open("/proc/self/statm").read().split()[1])
idle = pages * resource.getpagesize() / 2**20
clip = read_panorama(sys.argv[1], start_s=float(sys.argv[2]))
assert clip.frames.shape == (32, 3, 512, 1024) and clip.sound.waveform.shape == (2, 192000)
# Not ru_maxrss: a process starts with that of the one which started it, here a whole test run.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1024
print(peak - idle)
"""


def write_long_clip(path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 255, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((32, 32, 1), np.uint8))
    turned = [
        av.VideoFrame.from_ndarray(np.roll(picture, 32 * i, 1), format="rgb24").reformat(format="yuv420p")
        for i in range(4)
    ]
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30", "bf": "2", "refs": "4"}
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=48000)
        audio.codec_context.layout = "stereo"
        for i in range(SECONDS * FPS):
            frame = turned[i // FPS % 4]
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        write_sound(container, audio, noise(2, SECONDS * 48000), 48000)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")
def test_four_seconds_of_a_long_4k_clip_stay_small(tmp_path):
    path = tmp_path / "long.mp4"
    write_long_clip(path)
    for start in ("0", "41.3"):
        run = subprocess.run([sys.executable, "-c", READ, str(path), start], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert float(run.stdout) < LIMIT_MIB
