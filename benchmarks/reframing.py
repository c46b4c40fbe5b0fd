"""Race `con360 reframe` beside FFmpeg's v360 (cubic): whole programs, on the same two cores, without sound.

Both read one file, write H.264 of the same settings and decode with as many threads. The still view's picture is
compared, in a lossless source, with a render of 8x8 rays per pixel.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from con360.errors import InputError
from con360.media.coders import PictureCoding
from con360.media.info import probe
from con360.media.painting import upright_pixels
from con360.records import View
from con360.reframing.camera import Camera

from .timing import Row

SOURCE, FLAT, FPS, SECONDS = (3840, 1920), (1920, 1080), 25, 10
STILL, SWING_DEG = View(30.0, 20.0, 90.0), 40.0
CORES, RAYS, EDGE = 2, 8, 8
# Share of each octave in the picture's contrast, from 256 pixels down to single ones: as in footage, little is finest.
OCTAVES = (1.0, 1.0, 1.0, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1)
# Levels of noise that is new in each frame.
GRAIN = 1.5


@dataclass(frozen=True)
class Cost:
    """Cost of one run of a program: seconds by the wall, seconds of processors, peak memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def rows(rounds: int) -> list[Row]:
    """Two rows for a still and two for a moving view: wall and processor time.

    Raises:
        InputError: there is no `ffmpeg` here.
    """
    if shutil.which("ffmpeg") is None:
        raise InputError("the race needs FFmpeg's program `ffmpeg`, which is not on the PATH. Install it.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, lossless = folder / "source.mp4", folder / "lossless.mkv"
        write_source(source, FPS * SECONDS, {"crf": "20", "preset": "veryfast"})
        write_source(lossless, 2, {"qp": "0", "preset": "ultrafast"})
        still = _still_quality(lossless, folder)
        outputs = [out for _, out in commands("moving", source, folder).values()]
        found = _race("still", source, folder, rounds, still)
        return found + _race("moving", source, folder, rounds, lambda: _agreement(*outputs))


# Programs -------------------------------------------------------------------------------------------------------------


def commands(kind: str, source: Path, folder: Path) -> dict[str, tuple[list[str], Path]]:
    """The two programs' command lines for a `still` or `moving` view, each with the file that it writes."""
    ours, theirs = folder / "ours.mp4", folder / "v360.mp4"
    look, graph = _still_look() if kind == "still" else _moving_look(folder)
    size = "x".join(map(str, FLAT))
    own = [sys.executable, "-m", "con360", "reframe", source, "-o", ours, "--size", size, "--sound", "none", *look]
    codec = [part for name, value in PictureCoding().options.items() for part in (f"-{name}", value)]
    peer = ["ffmpeg", "-v", "error", "-y", "-threads", CORES, "-i", source, "-vf", graph, "-an", "-c:v", "libx264",
            "-pix_fmt", "yuv420p", *codec, "-movflags", "+faststart", theirs]  # fmt: skip
    return {"ours": (list(map(str, own)), ours), "v360": (list(map(str, peer)), theirs)}


def _still_look() -> tuple[list[str], str]:
    ours = ["--yaw", f"{STILL.yaw_deg}", "--pitch", f"{STILL.pitch_deg}", "--fov", f"{STILL.fov_deg}"]
    return ours, _v360(STILL.yaw_deg, STILL.pitch_deg)


def _moving_look(folder: Path) -> tuple[list[str], str]:
    """Swing from left to right at an even speed."""
    path, script, seconds = folder / "path.json", folder / "commands.txt", float(SECONDS)
    ends = [
        {"time": t, "yaw": yaw, "pitch": 0, "fov": STILL.fov_deg} for t, yaw in ((0, -SWING_DEG), (seconds, SWING_DEG))
    ]
    path.write_text(json.dumps(ends))
    # Half a frame early: a command holds from the first frame at or after its time.
    lines = (f"{max(0.0, (i - 0.5) / FPS):.4f} v360 yaw {-SWING_DEG + 2 * SWING_DEG * i / FPS / seconds:.6f};"
             for i in range(FPS * SECONDS))  # fmt: skip
    script.write_text("\n".join(lines))
    return ["--path", str(path)], f"sendcmd=f={script},{_v360(-SWING_DEG, 0.0)}:reset_rot=1"


def _v360(yaw_deg: float, pitch_deg: float) -> str:
    width, height = FLAT
    across = 2 * math.degrees(math.atan(math.tan(math.radians(STILL.fov_deg / 2)) * height / width))
    return (f"v360=equirect:flat:w={width}:h={height}:h_fov={STILL.fov_deg}:v_fov={across:.9f}"
            f":yaw={yaw_deg}:pitch={pitch_deg}:interp=cubic")  # fmt: skip


def run(command: list[str]) -> Cost:
    """Run a program on the first cores that this process may use.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    # As a user has it: as many threads as cores.
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def _race(kind: str, source: Path, folder: Path, rounds: int, judge: Callable[[], str]) -> list[Row]:
    programs, costs = commands(kind, source, folder), dict[str, list[Cost]]()
    for index in range(rounds):
        for name in list(programs)[:: -1 if index % 2 else 1]:
            costs.setdefault(name, []).append(run(programs[name][0]))
    mb = {name: statistics.median(cost.peak_mb for cost in found) for name, found in costs.items()}
    said = f"{judge()}; {mb['ours']:.0f} MB beside {mb['v360']:.0f}"
    what = f"{kind} view of {SOURCE[0]} x {SOURCE[1]}, {SECONDS} s, {FLAT[0]} x {FLAT[1]}"

    def row(clock: str, of: Callable[[Cost], float]) -> Row:
        times = {name: statistics.median(map(of, found)) for name, found in costs.items()}
        return Row(f"{what}: {clock}", "FFmpeg's v360, cubic", times["ours"], times["v360"], 1.0, said)

    return [row("wall", lambda cost: cost.wall_s), row("processors", lambda cost: cost.cpu_s)]


# Quality --------------------------------------------------------------------------------------------------------------


def _still_quality(lossless: Path, folder: Path) -> Callable[[], str]:
    """Measure both programs' pictures of a lossless source against rays that read it by cubic and by linear samples."""
    panorama, shown = _picture(lossless), {}
    for name, (command, out) in commands("still", lossless, folder).items():
        run(command)
        shown[name] = _picture(out)
    said = []
    for way, interpolation in (("cubic", cv2.INTER_CUBIC), ("linear", cv2.INTER_LINEAR)):
        truth = supersampled(panorama, STILL, interpolation)
        ours, theirs = (psnr_db(shown[name], truth) for name in ("ours", "v360"))
        said.append(f"{ours:.2f} dB beside {theirs:.2f} ({way} rays)")
    return lambda: "PSNR " + ", ".join(said)


def supersampled(panorama: np.ndarray, view: View, interpolation: int) -> np.ndarray:
    """Render a view `[h, w, 3]`, values of 8 bits as floats, as the mean of 8x8 rays per pixel."""
    width, height = FLAT
    camera = Camera(width * RAYS, height * RAYS)
    columns, rows = camera.places(view, *panorama.shape[:2])
    # Room for samples beyond the edges; this view sees no pole.
    wide = cv2.copyMakeBorder(panorama.astype(np.float32), 0, 0, EDGE, EDGE, cv2.BORDER_WRAP)
    out, band = np.empty((height, width, 3)), 60
    for top in range(0, height, band):
        part = slice(top * RAYS, (top + band) * RAYS)
        seen = cv2.remap(wide, columns[part] + EDGE, rows[part], interpolation)
        out[top : top + band] = seen.reshape(band, RAYS, width, RAYS, 3).mean((1, 3))
    return out


def _agreement(last: Path, peer: Path) -> str:
    """Compare the last pictures of both programs: the same view, or the path is another."""
    return f"last pictures {psnr_db(_picture(last, -1), _picture(peer, -1)):.1f} dB apart"


def psnr_db(found: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise ratio of pictures of 8 bits, in dB."""
    return 10 * math.log10(255**2 / float(np.mean((found.astype(np.float64) - truth) ** 2)))


def _picture(path: Path, index: int = 0) -> np.ndarray:
    """Decode one picture of a file to `[h, w, 3]` uint8."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return upright_pixels(frames[index], probe(path))


# Source ---------------------------------------------------------------------------------------------------------------


def write_source(path: Path, num_frames: int, options: dict[str, str]) -> None:
    """Write a panorama of noise with the contrasts and the grain of footage, which drifts by four pixels per frame."""
    width, height = SOURCE
    luma, *chroma = (_texture(seed, width // part, height // part) for seed, part in ((0, 1), (1, 2), (2, 2)))
    chance = np.random.default_rng(3)
    grain = chance.normal(0, GRAIN, (height, width)).round().astype(np.int8).view(np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        for i in range(num_frames):
            planes = [np.roll(plane, shift, 1) for plane, shift in ((luma, 4 * i), *((one, 2 * i) for one in chroma))]
            planes[0] += np.roll(grain, chance.integers(width * height))
            stacked = np.concatenate([plane.reshape(-1, width) for plane in planes])
            container.mux(video.encode(av.VideoFrame.from_ndarray(stacked, format="yuv420p")))
        container.mux(video.encode(None))


def _texture(seed: int, width: int, height: int) -> np.ndarray:
    """Noise `[height, width]` uint8 that joins at the seam, of all sizes as in `OCTAVES`."""
    chance, total = np.random.default_rng(seed), np.zeros((height, width), np.float32)
    for i, share in enumerate(OCTAVES):
        cell = max(1, 256 >> i)
        coarse = chance.standard_normal((max(1, height // cell), max(2, width // cell))).astype(np.float32)
        wide = cv2.copyMakeBorder(coarse, 0, 0, 1, 1, cv2.BORDER_WRAP)
        scale = width // coarse.shape[1]
        fine = cv2.resize(wide, (width + 2 * scale, height), interpolation=cv2.INTER_CUBIC)
        total += share * fine[:, scale:-scale]
    return np.clip(125 + 32 * total / total.std(), 16, 235).astype(np.uint8)
