"""Name what has to be mended in the shared test data, by the notes that came with it; all other files have nothing.

Seen on a second look: two WebM files say top-bottom stereo of one eye, as FFmpeg copied it when an eye was cut out.
"""

from __future__ import annotations

from pathlib import Path

from con360.checking.run import check, media_files

FOLDERS = (
    "video",
    "video_unlicensed",
    "photo",
    "photo/psv_cubemap",
    "saliency",
    "foa",
    "foa/s3a_audiobooth",
    "sfx",
    "bad",
)
MEND: dict[str, set[str]] = {
    "congo_eye_1024x512_vp9_foa_opus_family2.webm": {"metadata"},
    "congo_eye_960x480_24fps_av1_opus.webm": {"metadata"},
    "gvr_sphericalv2_VR180_mesh_NOT360.mp4": {"aspect", "projection"},
    "omni_trans_lilies_NOT_full360_2s.mp4": {"projection", "seam", "poles"},
    "gvr_andes_2048x2048_TB.jpg": {"stereo"},
    "md360_stereo_1280x720_TB.jpg": {"stereo"},
    "md360_matrix_1024x507.jpg": {"seam"},
    "md360_fisheye_NOT_equirect_638x651.jpg": {"aspect", "projection"},
    **{f"{face}.jpg": {"aspect", "projection", "seam", "poles"} for face in ("px", "nx", "ny", "pz", "nz")},
    # The sky alone: too plain for its poles.
    "py.jpg": {"aspect", "seam"},
    "violin_FuMa_az135_el0.wav": {"order"},
    "violin_N3D_ACN_az135_el0.wav": {"order"},
    # Impulse responses of a room, all in FuMa: of eleven others the order cannot be told.
    "ls12.wav": {"order"},
    "01_zero_byte.mp4": {"file"},
    "02_text_renamed.mp4": {"file"},
    "03_truncated_no_moov.mp4": {"file"},
    "04_truncated_mdat_85pct.mp4": {"file", "sound"},
    "04b_truncated_inside_first_frame.mp4": {"file"},
    "09_odd_dims_1001x499.webm": {"metadata"},
    "10_rotated_90_metadata.mp4": {"aspect", "projection", "seam", "poles", "metadata"},
    "14_corrupt_middle.mp4": {"file", "sound"},
    "16_real_16384x8192_one_frame.webm": {"file"},
    "17_nan_inf_float_foa.wav": {"sound"},
    "19_silent_foa.wav": {"sound"},
    "20_eight_channel_toa_ch0-7.wav": {"order"},
    "21_wav_unknown_data_size.wav": {"sound"},
    "23_short_0.05s.mp4": {"sound"},
    "33_black_static.mp4": {"motion"},
    "p4_truncated.jpg": {"file"},
    "p5_two_by_one_pixels.png": {"motion"},
    "p6_bomb_40000x20000.png": {"file"},
    "p7_jpeg_header_65500x32750.jpg": {"file"},
    "p8_square_not_360.jpg": {"aspect", "seam"},
}


def to_mend(path: Path) -> set[str]:
    return {finding.name for finding in check(path).findings if finding.state == "mend"}


def judged(data: Path) -> str:
    """Count the files of the shared data that are judged as their notes say, as a Markdown table."""
    lines = ["| shared data | files | with something to mend | judged right |", "|---|---|---|---|"]
    for name in FOLDERS:
        paths = media_files(data / name)
        right = sum(to_mend(path) == MEND.get(path.name, set()) for path in paths)
        lines.append(f"| {name} | {len(paths)} | {sum(path.name in MEND for path in paths)} | {right} |")
    return "\n".join(lines)
