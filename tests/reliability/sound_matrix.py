"""Read sound of FFmpeg's own encoders through the library, the command line and nodes, each in its own process.

PyAV's channel calls have read past their planes and freed memory of others, which no `except` catches. Here a process
that a signal ends is a failed row, and the next row runs. To try another PyAV, use an interpreter that has it and the
project's packages:

    OTHER/bin/python -m tests.reliability --only sound_matrix
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .apart import apart
from .bad_files import Came, command
from .figures import Effort, Figure, timed

RATE_HZ, SECONDS, FPS = 48000, 0.5, 8
# A broken heap shows some allocations later, so each file is read several times.
READS = 3
TIMEOUT_S = 60.0
PROMISE = "no sound of any channels or order ends the process: {}"


@dataclass(frozen=True)
class Row:
    """One file: its channels in FFmpeg's words, coder, container, further options and a new `chan` tag where given.

    Args:
        layout: a name of FFmpeg's, or a number of channels without an order.
        quick: tried through every entry point even with few trials.
    """

    layout: str
    codec: str
    suffix: str
    options: tuple[str, ...] = ()
    core_audio_tag: int = 0
    quick: bool = False

    @property
    def name(self) -> str:
        tag = f" {self.core_audio_tag >> 16}" if self.core_audio_tag else ""
        return f"{self.layout} {self.codec}{''.join(self.options[-1:])}{tag}.{self.suffix}".replace("/", " ")

    @property
    def channels(self) -> int:
        kind, _, order = self.layout.partition(" ")
        return (int(order) + 1) ** 2 if kind == "ambisonic" else LAYOUTS.get(self.layout) or int(kind.rstrip("C"))

    @property
    def has_picture(self) -> bool:
        return self.suffix in ("mp4", "mov", "mkv", "webm", "avi", "nut")


LAYOUTS = {
    "mono": 1, "stereo": 2, "2.1": 3, "4.0": 4, "quad": 4, "5.0": 5, "5.1": 6, "5.1(side)": 6, "6.1": 7, "7.1": 8,
    "7.1(wide)": 8, "octagonal": 8, "hexadecagonal": 16,
}  # fmt: skip
QUICKTIME_5_1_B = 122 << 16 | 6
FAMILY_2 = ("-mapping_family", "2")
FAMILY_255 = ("-mapping_family", "255")
EXPERIMENTAL = ("-strict", "-2")
ROWS = (
    # Planar, one plane per channel: eight and more once crashed the process.
    Row("mono", "aac", "mp4"), Row("stereo", "aac", "mp4"), Row("5.1", "aac", "mp4"),
    Row("7.1", "aac", "mp4", quick=True), Row("7.1(wide)", "aac", "mkv"),
    Row("mono", "libopus", "mkv"), Row("stereo", "libopus", "webm"), Row("5.1", "libopus", "webm"),
    Row("7.1", "libopus", "webm", quick=True), Row("4.0", "libopus", "mkv", FAMILY_2),
    Row("ambisonic 1", "libopus", "mkv", FAMILY_2), Row("ambisonic 2", "libopus", "mkv", FAMILY_2),
    Row("ambisonic 3", "libopus", "mkv", FAMILY_2, quick=True), Row("ambisonic 2", "libopus", "mp4", FAMILY_2),
    Row("ambisonic 3", "libopus", "mp4", FAMILY_2), Row("16C", "libopus", "mkv", FAMILY_255),
    Row("10C", "libopus", "webm", FAMILY_255), Row("mono", "ac3", "mp4"), Row("stereo", "eac3", "mkv"),
    Row("5.1(side)", "ac3", "mkv"), Row("5.1(side)", "eac3", "mp4"), Row("7.1", "libvorbis", "webm"),
    Row("7.1(wide)", "alac", "mov"), Row("8C", "wavpack", "mkv"), Row("8C", "tta", "mkv"),
    Row("5.0", "dca", "mkv", EXPERIMENTAL), Row("stereo", "libmp3lame", "mkv"), Row("stereo", "mp2", "avi"),
    # Packed.
    Row("mono", "pcm_u8", "wav"), Row("mono", "flac", "mkv"), Row("5.1", "flac", "mp4", EXPERIMENTAL),
    Row("7.1", "flac", "mkv"),
    Row("stereo", "pcm_s16le", "wav"), Row("5.1", "pcm_s24le", "wav"), Row("7.1", "pcm_s32le", "wav"),
    Row("7.1", "pcm_f64le", "wav"), Row("hexadecagonal", "pcm_f32le", "wav"), Row("16C", "pcm_s16le", "wav"),
    Row("5.1", "pcm_s64le", "nut"), Row("7.1", "pcm_f64le", "mkv"), Row("octagonal", "pcm_s16le", "avi"),
    Row("ambisonic 3", "pcm_f32le", "wav"), Row("stereo", "adpcm_ima_qt", "mov"), Row("6.1", "pcm_s16le", "mkv"),
    # QuickTime and Core Audio: custom channel orders, which PyAV 17.1 and 18 free twice.
    Row("stereo", "pcm_s16le", "mov"), Row("5.1", "pcm_s16le", "mov"), Row("5.1", "pcm_s24le", "mov"),
    Row("7.1", "pcm_s16le", "mov", quick=True), Row("7.1(wide)", "pcm_s16le", "mov"), Row("7.1", "pcm_f64le", "mov"),
    Row("hexadecagonal", "pcm_s16le", "mov"), Row("ambisonic 3", "pcm_s16le", "mov"), Row("quad", "pcm_s8", "mov"),
    Row("7.1", "pcm_s16le", "caf"), Row("ambisonic 1", "pcm_s16le", "mov"),
    *(Row("5.1", "pcm_s16le", "mov", core_audio_tag=number << 16 | 6) for number in (121, 122, 123, 124)),
    Row("4.0", "pcm_s16le", "mov", core_audio_tag=107 << 16 | 4),
    Row("4.0", "pcm_s16le", "caf", core_audio_tag=107 << 16 | 4),
    Row("7.1", "pcm_s16le", "mov", core_audio_tag=127 << 16 | 8),
)  # fmt: skip


def figures(effort: Effort) -> Iterator[Figure]:
    few = [row for row in ROWS if row.quick] if effort.name == "test" else list(ROWS)
    doors: tuple[tuple[str, Any, list[Row]], ...] = (
        ("the library", through_library, list(ROWS)),
        ("con360 reframe", through_reframe, [row for row in few if row.has_picture]),
        ("con360 project", through_project, few),
        ("Load360Video and Reframe360Video", through_nodes, [row for row in few if row.has_picture]),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {row: write(row, Path(folder) / row.name) for row in ROWS} if shutil.which("ffmpeg") else {}
        for name, door, rows in doors:
            yield _through(name, door, [(row, files[row]) for row in rows if files.get(row)], len(rows), Path(folder))


def _through(name: str, door: Callable[..., Came], files: list[tuple[Row, Path]], wanted: int, place: Path) -> Figure:
    import av

    with timed(PROMISE.format(name)) as figure:
        for row, path in files:
            end = apart(door, row, path, place, timeout_s=TIMEOUT_S)
            came: Came = end.value or Came()
            figure.expect(not end.trouble, f"{row.name}: {end.trouble}")
            # Each of these files is valid: a refusal is a fault.
            figure.expect(not came.wrong and not came.refused, f"{row.name}: {came.wrong or came.refused}")
        figure.tried = f"{len(files)} files, PyAV {av.__version__}"
        figure.outcome = "" if len(files) == wanted else f"NOT TRIED: {wanted - len(files)}, which FFmpeg did not write"
    return figure


# The files ------------------------------------------------------------------------------------------------------------


def write(row: Row, path: Path) -> Path | None:
    """Write the file of a row; return None where this FFmpeg cannot."""
    sound = [*("-f", "f32le", "-ar", RATE_HZ, "-ch_layout", row.layout, "-i", "-")]
    picture = ["-f", "lavfi", "-i", f"testsrc2=s=64x32:r={FPS}:d={SECONDS}", "-c:v", "mpeg4"] if row.has_picture else []
    if row.suffix == "webm":
        picture[-1] = "libvpx"
    inputs = ["ffmpeg", "-v", "error", "-y", *picture[:-2], *sound, *picture[-2:]]
    command = [*inputs, "-c:a", row.codec, *row.options, path]
    made = subprocess.run([str(word) for word in command], input=samples(row.channels).T.tobytes(), capture_output=True)
    if made.returncode:
        return None
    if row.core_audio_tag:
        name_channels(path, row.core_audio_tag)
    return path


def name_channels(path: Path, tag: int) -> None:
    """Replace the channel description of a MOV or CAF by a Core Audio layout tag: no bitmap, no list."""
    content = path.read_bytes()
    at = content.index(b"chan") + (12 if path.suffix == ".caf" else 8)
    path.write_bytes(content[:at] + b"".join(n.to_bytes(4, "big") for n in (tag, 0, 0)) + content[at + 12 :])


def samples(channels: int) -> np.ndarray:
    """Make `[C, N]` float32: a low tone in each channel, louder from channel to channel."""
    tone = np.sin(2 * np.pi * 90 * np.arange(round(RATE_HZ * SECONDS)) / RATE_HZ)
    return (np.linspace(0.2, 0.4, channels)[:, None] * tone).astype(np.float32)


# Entry points ---------------------------------------------------------------------------------------------------------


def through_library(row: Row, path: Path, place: Path) -> Came:
    from con360.media.info import probe
    from con360.media.reader import PanoramaStream, read_panorama, read_sound

    for _ in range(READS):
        info = probe(path)
        found = [read_sound(path)[0].waveform.numpy()]
        if row.has_picture:
            clip = read_panorama(path, duration_s=SECONDS, fps=FPS, height=32)
            assert clip.sound is not None
            found += [clip.sound.waveform.numpy(), np.concatenate(list(PanoramaStream(info, "whole").sound()), axis=1)]
    track = info.audio_tracks[0]
    if track.channels != row.channels:
        return Came(wrong=f"{track.channels} channels ({track.label})")
    order = [source for source, _ in track.heard.picks or ()]
    return Came(wrong="; ".join(filter(None, (_unlike(row, order, wave) for wave in found))))


def _unlike(row: Row, order: list[int], wave: np.ndarray) -> str:
    """Describe how levels differ from those written, in any channel order; return "" where they do not."""
    wanted = np.std(samples(row.channels)[list(order or range(row.channels))], axis=1)
    if len(wave) != len(wanted) or not np.isfinite(wave).all():
        return f"{len(wave)} channels, or samples that are no numbers"
    # Away from the ends, where coders begin and settle.
    levels = np.std(wave[:, RATE_HZ // 10 : round(0.4 * RATE_HZ)], axis=1)
    off = np.abs(np.sort(levels) / np.sort(wanted) - 1).max()
    return "" if off < 0.1 else f"levels {np.round(levels, 3)} instead of {np.round(wanted, 3)}"


def through_reframe(row: Row, path: Path, place: Path) -> Came:
    out = Path(tempfile.mkdtemp(dir=place)) / "view.mp4"
    status, said, errors = command("reframe", path, "-o", out, "--yaw", "0", "--size", "32x32", "--json")
    if status == 0:
        return Came(wrong="" if out.is_file() else "no file")
    return Came(refused=json.loads(said.strip().splitlines()[-1])["error"] if said else errors[-300:])


def through_project(row: Row, path: Path, place: Path) -> Came:
    """Take a file's sound, copied or coded again, for a flat clip of our own."""
    from synthetic_clips import write_video

    from con360.media.reader import read_sound

    folder = Path(tempfile.mkdtemp(dir=place))
    flat = write_video(folder / "flat.mp4", [i / FPS for i in range(FPS)])
    status, said, errors = command(
        "project", flat, "-o", folder / "out.mp4", "--height", "64", "--sound", path, "--json"
    )
    if status:
        return Came(refused=json.loads(said.strip().splitlines()[-1])["error"] if said else errors[-300:])
    if json.loads(said.strip().splitlines()[-1])["sound"] != "copied":
        return Came()
    return Came(wrong=_unlike(row, [], read_sound(folder / "out.mp4")[0].waveform.numpy()))


def through_nodes(row: Row, path: Path, place: Path) -> Came:
    from tools.host import Host

    host = Host(Path(tempfile.mkdtemp(dir=place)))
    name = f"clip.{row.suffix}"
    shutil.copy(path, host.base / "input" / name)
    load = {"video": name, "start": 0.0, "duration": SECONDS, "fps": float(FPS), "height": 64, "eye": "whole"}
    look = {
        "video": name, "mode": "yaw and pitch", "rank": 1, "yaw": 0.0, "pitch": 0.0, "fov": 90.0, "width": 32,
        "height": 32, "start": 0.0, "duration": 0.0, "sound": "auto",
    }  # fmt: skip
    run = host.run({
        "1": {"class_type": "Load360Video", "inputs": load},
        "2": {"class_type": "Reframe360Video", "inputs": look},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "4": {"class_type": "Save360Video", "inputs": {
            "frames": ["1", 0], "audio": ["1", 1], "fps": float(FPS), "stereo": "mono", "filename_prefix": "saved"}},
    })  # fmt: skip
    if run.status == "done":
        return Came()
    return Came(refused=str(run.error) if run.error else str(run.complaints))
