"""Put every malformed and every real file through the library, the command line and the Load360Video node.

`TABLE` names what must come of each file: a result, with the warning it must carry where it needs one, or a refusal and
a part of its sentence. What must never come: a traceback, a hang, a crash, NaN, a result that is silently partial, or
memory without bound.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from shared_data import shared_root

from .apart import apart
from .figures import Effort, Figure, timed

# Above the idle process, for each file. The panorama that the command line reads takes 200 MB of this.
MAX_EXTRA_MB = 700
# The multi-cue saliency of viewpoints reads the footage once more, finer and faster: 180 MB.
MAX_EXTRA_GENERATING_MB = 900
TIMEOUT_S = 120.0
MEDIA_SUFFIXES = {
    ".mp4", ".webm", ".mov", ".mkv", ".m4a", ".wav", ".flac", ".ogg", ".jpg", ".png",
}  # fmt: skip
PROMISE = "any file through {}: a result with its warnings, or one sentence"


@dataclass(frozen=True)
class Wanted:
    """Outcome that a file must have when it is read as a panorama.

    Args:
        refused: a part of the sentence that refuses it; "" where a result is wanted.
        notice: a part of a warning that the result carries; "" where none is demanded.
    """

    refused: str = ""
    notice: str = ""


def _refused(words: str) -> Wanted:
    return Wanted(refused=words)


def _with(notice: str) -> Wanted:
    return Wanted(notice=notice)


FINE = Wanted()
NO_VIDEO, FLAT = _refused("no video"), _refused("flat")
STRETCHED, STILL = _with("not 2:1"), _with("still picture")

TABLE: dict[str, Wanted] = {
    "bad/-25_leading_dash_076WPWoCRE_137.mp4": FINE,
    "bad/01_zero_byte.mp4": _refused("is empty"),
    "bad/02_text_renamed.mp4": _refused("not a media file"),
    "bad/03_truncated_no_moov.mp4": _refused("incomplete"),
    "bad/04_truncated_mdat_85pct.mp4": _with("picture ends at 1.37 s"),
    "bad/04b_truncated_inside_first_frame.mp4": _refused("no frame that can be decoded"),
    "bad/05_audio_only.mp4": NO_VIDEO,
    "bad/06_video_only.mp4": _with("no sound track"),
    "bad/07_one_frame.mp4": _with("held for 31 of 32"),
    "bad/08_vfr.mp4": FINE,
    "bad/09_odd_dims_1001x499.webm": FINE,
    "bad/10_rotated_90_metadata.mp4": _refused("240x480 after its rotation"),
    "bad/11_hevc_10bit_hdr_pq.mp4": _with("HDR (PQ)"),
    "bad/12_vp9_10bit.webm": FINE,
    "bad/13_grayscale.mp4": FINE,
    "bad/14_corrupt_middle.mp4": _with("amaged pieces of the picture"),
    "bad/15_header_says_32768x16384.mp4": FINE,
    "bad/16_real_16384x8192_one_frame.webm": _refused("CON360_MAX_PIXELS"),
    "bad/17_nan_inf_float_foa.wav": NO_VIDEO,
    "bad/18_float_overload_peak8_foa.wav": NO_VIDEO,
    "bad/19_silent_foa.wav": NO_VIDEO,
    "bad/20_eight_channel_toa_ch0-7.wav": NO_VIDEO,
    "bad/21_wav_unknown_data_size.wav": NO_VIDEO,
    "bad/22_mono_8khz.mp4": FINE,
    "bad/23_short_0.05s.mp4": _with("its last frame is held"),
    "bad/24_Ünïcödé 全天球 (360°) & spaces 'q'.mp4": FINE,
    "bad/26_audio_starts_0.7s_late.mp4": _with("0.68 s late"),
    "bad/27_two_audio_tracks_stereo_then_foa.mp4": _with("2 sound tracks"),
    "bad/28_audio_5.1_not_ambisonic.mp4": FINE,
    "bad/29_one_fps.mp4": FINE,
    "bad/30_audio_with_cover_art.m4a": NO_VIDEO,
    "bad/31_live_webm_no_duration.webm": FINE,
    "bad/32_audio_shorter_than_video.mp4": _with("sound ends at 0.80 s"),
    "bad/33_black_static.mp4": FINE,
    "bad/34_truncated_partial_download.webm": _with("picture ends at 0.70 s"),
    "bad/README.md": _refused("not a media file"),
    "bad/p1_exif_orientation6.jpg": STILL,
    "bad/p2_cmyk.jpg": STILL,
    "bad/p3_gray16.png": STILL,
    "bad/p4_truncated.jpg": _refused("damaged"),
    "bad/p5_two_by_one_pixels.png": _refused("too small"),
    "bad/p6_bomb_40000x20000.png": _refused("too large"),
    "bad/p7_jpeg_header_65500x32750.jpg": _refused("too large"),
    "bad/p8_square_not_360.jpg": FLAT,
    "bad/p9_rgba_transparent_floor.png": STILL,
    "video/congo_eye_1024x512_h264_foa_aac_v2meta.mp4": FINE,
    "video/congo_eye_1024x512_vp9_foa_opus_family2.webm": FINE,
    "video/congo_eye_1280x640_hevc_aacmono.mp4": FINE,
    "video/congo_eye_1920x1080_stretched_v1meta.mp4": STRETCHED,
    "video/congo_eye_640x320_15fps_prores_pcm.mov": _with("picture ends at 1.20 s"),
    "video/congo_eye_960x480_24fps_av1_opus.webm": _with("picture ends at 3.0"),
    "video/gvr_congo_1920x1080_TB_stereo3d.mp4": _with("the left eye is used"),
    "video/gvr_sphericalv2_VR180_mesh_NOT360.mp4": _with("part of the sphere"),
    "video/gvr_testRoom1_1920Mono_noaudio.mp4": _with("no sound track"),
    "video_unlicensed/omni_append_6DHUZ1Jt4wo_1050_w_ERP_640x360_cut5s.mp4": STRETCHED,
    "video_unlicensed/omni_trans_lilies_NOT_full360_2s.mp4": _with("do not join"),
    "video_unlicensed/omni_trans_quartet_u-Hpf2_60fps_cut2s.webm": _with("picture ends at 2.0"),
    "video_unlicensed/omni_trans_scenecut_3s_960x540.mp4": STRETCHED,
    "video_unlicensed/sph360_G8pABGosD38l_17.webm": STRETCHED,
    "video_unlicensed/sph360_JUN314mwb90_49.webm": STRETCHED,
    "video_unlicensed/sph360_NdE7uYVaynQl_0.webm": STRETCHED,
    "video_unlicensed/sph360_V5IVN81wYrI_60_cut5s.webm": FINE,
    "video_unlicensed/sph360_V_To4k9AJXc_20.webm": STRETCHED,
    "video_unlicensed/sph360_eqn9IX4aKmc_250_cut4s.webm": FINE,
    "video_unlicensed/sph360_fl-rc2-fb4Y_92_cut4s.webm": STRETCHED,
    "video_unlicensed/sph360_qvtEdv1WlUw_10_cut4s.webm": FINE,
    "video_unlicensed/sph360_v5f-G9Uu5dE_31_cut5s.webm": STRETCHED,
    "photo/gvr_andes_2048x2048_TB.jpg": FLAT,
    "photo/gvr_testRoom1_2048x1024.jpg": STILL,
    "photo/md360_fisheye_NOT_equirect_638x651.jpg": FLAT,
    "photo/md360_matrix_1024x507.jpg": STILL,
    "photo/md360_stereo_1280x720_TB.jpg": _with("look alike"),
    "photo/pannellum_examplepano_4096x2048.jpg": STILL,
    "photo/psv_clinic_6080x3040_gpano.jpg": STILL,
    "photo/psv_mercantour_2000x1000.jpg": STILL,
    "photo/psv_testgrid_4000x2000.jpg": STILL,
    "photo/py360_worldmap_800x400_rgba.png": STILL,
    "photo/webxr_milkyway_2048x1024.png": STILL,
    **{f"photo/psv_cubemap/{face}.jpg": FLAT for face in ("nx", "ny", "nz", "px", "py", "pz")},
    **{f"saliency/salient_{i}{kind}": STILL for i in (1, 2, 3) for kind in (".jpg", "_gt_colour.jpg", "_gt_gray.png")},
    "saliency/salient_1_gt_colour_2048.png": STILL,
    **dict.fromkeys(
        (
            "foa/foa_bird_near_zenith_el80.wav", "foa/foa_birds_az60el20_then_az-120el0.wav",
            "foa/foa_move_az-170_to_170_through_front.wav", "foa/ncoomber_crowd_az0.wav",
            "foa/omnitone_3oa_ch0-3_az0.wav", "foa/violin_FuMa_az135_el0.wav", "foa/violin_N3D_ACN_az135_el0.wav",
            "foa/violin_SN3D_ACN_az135_el0.wav", "sfx/bird-1.wav", "sfx/bird-2.wav", "sfx/bird-6.wav",
            "sfx/drums_stereo.ogg", "sfx/piano_mono.flac", "sfx/speech-sample.wav",
            *(f"foa/s3a_audiobooth/ls{n:02}.wav" for n in (1, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16, 17)),
        ),
        NO_VIDEO,
    ),
}  # fmt: skip

# The same for files read as sound, by the library alone: the command line and the node read panoramas.
SOUNDS: dict[str, Wanted] = {
    "bad/05_audio_only.mp4": FINE,
    "bad/17_nan_inf_float_foa.wav": _with("not numbers"),
    "bad/18_float_overload_peak8_foa.wav": FINE,
    "bad/19_silent_foa.wav": FINE,
    "bad/20_eight_channel_toa_ch0-7.wav": FINE,
    "bad/21_wav_unknown_data_size.wav": FINE,
    "bad/30_audio_with_cover_art.m4a": FINE,
    **{name: FINE for name in TABLE if name.startswith(("foa/", "sfx/"))},
}


@dataclass(frozen=True)
class Came:
    """Outcome of a file: the sentence that refused it, or the notices of its result; `wrong` holds any other fault."""

    refused: str = ""
    notices: str = ""
    wrong: str = ""


def media_files() -> list[str]:
    """Return every clip, photo and sound of the shared data, as `TABLE` names them."""
    data = shared_root() / "data"
    files = (p for p in data.rglob("*") if p.suffix in MEDIA_SUFFIXES or p.is_file() and p.parent.name == "bad")
    return sorted(p.relative_to(data).as_posix() for p in files)


def figures(effort: Effort) -> Iterator[Figure]:
    data = shared_root() / "data"
    if not data.is_dir():
        yield Figure("malformed and real files: a result with its warnings or one sentence", "nothing",
                     f"NOT TRIED: no {data}; name a folder with data/ in $CON360_TEST_DATA")  # fmt: skip
        return
    names = media_files() if effort.all_files else [n for n in media_files() if n.startswith("bad/")]
    sounds = [n for n in names if n in SOUNDS]
    accepted = [n for n in names if not TABLE[n].refused]
    kept = accepted if effort.all_files else accepted[::8] if effort.name == "quick" else []
    by_command = [n for n in names if n in kept or TABLE[n].refused]
    with tempfile.TemporaryDirectory() as folder:
        door = partial(_door, place=Path(folder), together=1 if effort.all_files else 12)
        if effort.name != "test":  # in pytest, tests/media/test_bad_inputs.py tries these
            yield door("the library", names, TABLE, through_library)
            yield door("the library as sound", sounds, SOUNDS, through_library_as_sound)
        yield door("Load360Video", names, TABLE, through_node)
        # A clip of four seconds leaves memory in use, which would count against the next file of the process.
        together = 12 if effort.name == "test" else 1
        yield door(
            "con360 generate", by_command, TABLE, through_cli, together=together, most_mb=MAX_EXTRA_GENERATING_MB
        )


def _door(
    door: str, names: list[str], table: dict[str, Wanted], through: Callable[[Path, Path], Came], *, place: Path,
    together: int, most_mb: float = MAX_EXTRA_MB,
) -> Figure:  # fmt: skip
    """Read `together` files in each process; with 1, memory, crash or hang can be told for each file."""
    peak = 0.0
    with timed(PROMISE.format(door)) as figure:
        for start in range(0, len(names), together):
            group = names[start : start + together]
            files = [shared_root() / "data" / name for name in group]
            end = apart(_each, through, files, place, timeout_s=TIMEOUT_S * len(group))
            peak = max(peak, end.peak_mb)
            if end.peak_mb > most_mb:
                figure.failures.append(f"{', '.join(group)}: took {end.peak_mb:.0f} MB")
            for name, came in zip(group, end.value or [None] * len(group), strict=True):
                for problem in problems_of(name, table[name], came, end.trouble):
                    figure.failures.append(f"{name}: {problem}")
        refused = sum(bool(table[n].refused) for n in names)
        figure.tried = f"{len(names)} files"
        figure.outcome = f"{len(names) - refused} results, {refused} refused, {peak:.0f} MB more at most"
    return figure


def _each(through: Callable[[Path, Path], Came], files: list[Path], place: Path) -> list[Came]:
    return [through(file, place) for file in files]


def problems_of(name: str, wanted: Wanted, came: Came | None, trouble: str) -> Iterator[str]:
    """Yield the faults of an outcome."""
    if came is None:
        yield trouble or "nothing came back"
        return
    if came.wrong:
        yield came.wrong
    if wanted.refused and wanted.refused not in came.refused:
        yield f"wanted a refusal with '{wanted.refused}', got {came.refused or 'a result'!r}"
    if not wanted.refused and came.refused:
        yield f"wanted a result, refused: {came.refused}"
    if came.refused and ("\n" in came.refused or len(came.refused) > 500 or not came.refused.endswith(".")):
        yield f"no clear sentence: {came.refused!r}"
    if wanted.notice and not came.refused and wanted.notice not in came.notices:
        yield f"no warning with '{wanted.notice}' in {came.notices!r}"


# Entry points ---------------------------------------------------------------------------------------------------------


def through_library(path: Path, place: Path) -> Came:
    import torch

    from con360.errors import InputError
    from con360.media.reader import read_panorama

    try:
        clip = read_panorama(path, height=64)
    except InputError as error:
        return Came(refused=str(error))
    sound = clip.sound
    whole = clip.frames.shape == (32, 3, 64, 128) and (sound is None or sound.duration_s == 4)
    values = [clip.frames] + ([] if sound is None else [sound.waveform])
    good = whole and all(bool(torch.isfinite(v).all()) for v in values)
    return Came(notices=" ".join(clip.notices), wrong="" if good else "values that are not finite, or a partial result")


def through_library_as_sound(path: Path, place: Path) -> Came:
    import torch

    from con360.errors import InputError
    from con360.media.reader import read_sound

    try:
        sound, notices = read_sound(path)
    except InputError as error:
        return Came(refused=str(error))
    good = sound.waveform.shape[-1] > 0 and bool(torch.isfinite(sound.waveform).all())
    return Came(notices=" ".join(notices), wrong="" if good else "values that are not finite, or no sound")


def through_node(path: Path, place: Path) -> Came:
    """Run Load360Video in the stand-in for ComfyUI, which refuses outputs that are not finite or out of range."""
    host = _host(place)
    shutil.copy(path, host.base / "input" / path.name)
    load = {"video": path.name, "start": 0.0, "duration": 4.0, "fps": 8.0, "height": 64, "eye": "auto"}
    run = host.run({
        "1": {"class_type": "Load360Video", "inputs": load},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    })  # fmt: skip
    if run.status == "done":
        frames, notices = run.outputs["1"][0], run.outputs["1"][4]
        return Came(notices=notices, wrong="" if len(frames) == 32 else f"{len(frames)} frames instead of 32")
    sentence = str(run.error) if run.error else str(run.complaints)
    kind = type(run.error).__name__
    return Came(refused=sentence, wrong="" if run.complaints or kind == "InputError" else f"{kind}: {sentence}")


@cache
def _host(place: Path) -> Any:
    from tools.host import Host

    return Host(Path(tempfile.mkdtemp(dir=place)))


def through_cli(path: Path, place: Path) -> Came:
    """Run `con360 generate`, four seconds in one step, over a tiny untrained model."""
    out = Path(tempfile.mkdtemp(dir=place))
    status, said, errors = command(
        "generate", path, "-o", out / "view.mp4", "--model", tiny_model_folder(place), "--duration", "4", "--steps",
        "1", "--json",
    )  # fmt: skip
    left = sorted(p.name for p in out.iterdir())
    if status == 0:
        facts = json.loads(said.strip().splitlines()[-1])
        frames, samples = frames_and_sound(out / "view.mp4")
        whole = left == ["view.mp4"] and (frames, samples) == (32, 64000)
        return Came(notices=" ".join(facts["warnings"]), wrong="" if whole else f"{left}: {frames} frames, {samples}")
    sentence = json.loads(said.strip().splitlines()[-1])["error"]
    clean = status == 2 and not left and "Traceback" not in errors
    return Came(refused=sentence, wrong="" if clean else f"status {status}, left {left}: {errors[-300:]}")


def frames_and_sound(path: Path) -> tuple[int, int]:
    """Count the frames and samples that a clip decodes to."""
    import av

    from con360.media.reader import read_sound

    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0)), read_sound(path)[0].waveform.shape[-1]


def command(*arguments: Any) -> tuple[int, str, str]:
    """Run `con360 ...` in this process; return exit status, standard output, standard error."""
    from con360.cli import main

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), errors.getvalue()


def tiny_model_folder(place: Path) -> Path:
    """A folder in the published layout with its own control file, made once per place."""
    from tiny_workflow import write_model_files

    folder = place / "models" / "con360" / "random"
    if not (folder / "control.safetensors").is_file():
        write_model_files(place / "models")
        shutil.copy(place / "models" / "con360_control" / "random.safetensors", folder / "control.safetensors")
    return folder
