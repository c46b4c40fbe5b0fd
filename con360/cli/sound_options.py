"""Options of the commands that place sound, hear it, and say when it strikes."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import BUILT_IN_AMBISONICS, CLIP_SOUNDS, DTYPES, EYES, LOOKS_TO, TIMES_FROM
from .options import DEVICES, add_preset, add_saliency, add_sound, direction, number, scale, whole


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options of `con360 place`."""
    parser.add_argument("sounds", nargs="*", metavar="SOUND[@PLACE]", help="any file with sound, and its own place")
    parser.add_argument(
        "--sounds", dest="views", metavar="FOLDER", help="sounds of a clip's views, beside `con360 views`' views.json"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="OUT.mp4 with a clip, else OUT.wav")
    parser.add_argument("--on", metavar="CLIP", help="a 360° video; its picture is copied")
    place = parser.add_argument_group("place of each sound that has none of its own")
    place.add_argument("--yaw", type=number, metavar="DEG", help="right is positive (0)")
    place.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    place.add_argument("--follow", type=whole, metavar="K", help="the K-th most salient region of CLIP")
    place.add_argument("--path", metavar="KEYFRAMES.json", help="move along keyframes")
    place.add_argument("--panned", action="store_true", help="stereo: each side where its own panning says")
    place.add_argument("--find", action="store_true", help="each band of it at the region of CLIP that moves with it")
    place.add_argument("--most-moving", action="store_true", help="at the region of CLIP that moves most")
    place.add_argument("--distance", type=number, metavar="M", help="twice as far is 6 dB quieter (1)")
    place.add_argument("--spread", type=number, metavar="DEG", help="angle it fills: 0 a point, 360 everywhere (0)")
    place.add_argument("--gain", type=number, metavar="DB", help="louder or quieter, in decibels (0)")
    place.add_argument("--begin", type=number, metavar="S", help="when it begins, in seconds of CLIP (0)")
    made = parser.add_argument_group("result")
    made.add_argument("--order", type=whole, metavar="N", help="of the Ambisonics, 1 to 3 (CLIP's own, else 1)")
    add_preset(made, "; CLIP's picture is copied all the same")
    made.add_argument("--replace", action="store_true", help="leave CLIP's own sound out (mixed in)")
    look = parser.add_argument_group("looking at CLIP, for --follow and --find")
    look.add_argument("--eye", choices=EYES, help="stereo video: one eye, or the whole picture (as the metadata says)")
    add_saliency(look)
    look.add_argument("--device", default="auto", metavar="NAME", help=f"where saliency is computed: {DEVICES}")
    add_sound(parser.add_argument_group("sound of CLIP"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def add_clip_sound(group: Any) -> None:
    """Add the options of a generated clip's sound."""
    group.add_argument(
        "--sound", choices=CLIP_SOUNDS,
        help="of the clip: what the view's microphone hears, all of the scene, stereo or headphones that turn with the "
        "view (view where the control places sound, else as the model makes it)",
    )  # fmt: skip
    group.add_argument(
        "--field", metavar="WAV",
        help="also write the sound as Ambisonics: where the control hears it, else each band at the region with its "
        "rhythm",
    )  # fmt: skip


def add_listen(parser: argparse.ArgumentParser) -> None:
    """Add the options of `con360 listen`."""
    parser.add_argument("input", metavar="INPUT", help="Ambisonics of order 1 to 3, or a 360° video with sound")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.wav", help="what both ears hear")
    head = parser.add_argument_group("where the head points")
    head.add_argument("--yaw", type=number, metavar="DEG", help="right is positive (0)")
    head.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    head.add_argument("--path", metavar="KEYFRAMES.json", help="turn along keyframes")
    parser.add_argument("--hrtf", metavar="FILE.sofa", help="your own ears, measured (MIT KEMAR's)")
    add_sound(parser.add_argument_group("sound of INPUT"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def add_time_track(group: Any) -> None:
    """Add the options of `con360 generate` with which its sound follows a track."""
    group.add_argument(
        "--when", metavar="FILE",
        help="onsets and level that the sound follows: .json, .csv, Audacity's labels as .txt, or any file with sound",
    )  # fmt: skip
    group.add_argument(
        "--when-strength", type=number, metavar="X",
        help="how firmly the sampler is guided, 0 (not at all) to 1 (0.1)",
    )  # fmt: skip
    group.add_argument(
        "--when-at", type=direction, metavar="YAW,PITCH",
        help="what is there pulses with the track in the maps that the control reads, so that the picture does",
    )  # fmt: skip


def add_when(parser: argparse.ArgumentParser) -> None:
    """Add the options of `con360 when`."""
    parser.add_argument("input", metavar="CLIP", help="a 360° video, or with --from sound any file with sound")
    parser.add_argument(
        "-o", "--output", required=True, metavar="TRACK",
        help="TRACK.json with onsets and level; TRACK.csv, or TRACK.txt with Audacity's labels, with onsets alone",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="times_from", choices=TIMES_FROM, default=TIMES_FROM[0],
        help="sounds that begin, or what grows or brightens in the picture (sound)",
    )  # fmt: skip
    parser.add_argument("--start", type=number, default=0.0, metavar="S", help="where to begin, in seconds (0)")
    parser.add_argument("--duration", type=number, default=4.0, metavar="S", help="how long (4)")
    look = parser.add_argument_group("where to look, with --from picture")
    look.add_argument("--region", type=whole, metavar="K", help="the K-th most salient region (1, the most salient)")
    look.add_argument("--yaw", type=number, metavar="DEG", help="look there instead; right is positive (0)")
    look.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    look.add_argument(
        "--network", metavar="FILE",
        help="SyncFusion's onset network tells onsets there, or one of train/when.yaml the level (motion alone)",
    )  # fmt: skip
    look.add_argument("--eye", choices=EYES, help="stereo video: one eye, or the whole picture (as the metadata says)")
    look.add_argument(
        "--device", default="auto", metavar="NAME", help=f"where saliency and networks are computed: {DEVICES}"
    )
    add_sound(parser.add_argument_group("sound of CLIP, with --from sound"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add the options of `con360 page`."""
    parser.add_argument("input", metavar="CLIP", help="a 360° video, equirectangular, about 2:1")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.html", help="the page to write")
    spots = parser.add_argument_group("hot spots")
    spots.add_argument(
        "--view", action="append", default=[], metavar="FILE[@YAW,PITCH][=CAPTION]",
        help="a view's clip, where it lies, and its name; may be repeated",
    )  # fmt: skip
    spots.add_argument("--views", metavar="FOLDER", help="all views of a folder that `con360 views` wrote")
    parser.add_argument("--title", metavar="TEXT", help="of the page (CLIP's name)")
    smaller = parser.add_argument_group("a smaller page")
    smaller.add_argument("--size", metavar="WxH", help="of the panorama, even numbers (as it is)")
    smaller.add_argument("--start", type=number, default=0.0, metavar="S", help="where to begin, in seconds (0)")
    smaller.add_argument("--duration", type=number, metavar="S", help="how long (to the end)")
    smaller.add_argument("--eye", choices=EYES, help="stereo video: one eye, or the whole picture (the left one)")
    add_sound(parser.add_argument_group("sound of CLIP"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def add_ambisonics(parser: argparse.ArgumentParser) -> None:
    """Add the options of `con360 ambisonics`."""
    parser.add_argument("input", metavar="CLIP", help="a 360° video, equirectangular, about 2:1")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="CLIP's picture with the new sound")
    part = parser.add_argument_group("which part of CLIP")
    part.add_argument("--start", type=number, default=0.0, metavar="S", help="where to begin, in seconds (0)")
    part.add_argument("--duration", type=number, metavar="S", help="how long (to the end)")
    part.add_argument("--eye", choices=EYES, help="stereo video: the eye that the model sees (the left one)")
    made = parser.add_argument_group("generation")
    made.add_argument("--seed", type=whole, default=0, help="seed of the noise; the same seed gives the same sound (0)")
    made.add_argument("--steps", type=whole, help="steps from noise to sound (as the model recommends)")
    made.add_argument("--cfg", type=scale, metavar="X", help="guidance scale, or 'off' (as the model recommends)")
    made.add_argument(
        "--view", choices=LOOKS_TO, default=LOOKS_TO[0],
        help="the view that the model reads beside the panorama: front, as published, or what is most salient (front)",
    )  # fmt: skip
    add_saliency(made)
    made.add_argument("--published-jpeg", action="store_true", help="code its pictures as JPEG first; for parity")
    made.add_argument("--fresh", action="store_true", help="keep nothing for later runs, and use nothing that was kept")
    level = parser.add_argument_group("sound")
    level.add_argument("--keep-original", action="store_true", help="mix CLIP's own sound in (left out)")
    level.add_argument("--gain", type=number, default=0.0, metavar="DB", help="louder or quieter, in decibels (0)")
    level.add_argument("--no-limiter", action="store_true", help="let peaks pass -1 dBFS")
    add_preset(level, "; CLIP's picture is copied all the same")
    level.add_argument("--headphones", metavar="FILE.wav", help="write what both ears hear, too")
    add_sound(parser.add_argument_group("sound of CLIP, for --keep-original"))
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model", default=BUILT_IN_AMBISONICS, metavar="NAME|FILE",
        help="'con360-small', 'omniaudio' (the one in the model folders), its model.ckpt or safetensors, or a small "
        "model's folder (%(default)s)",
    )  # fmt: skip
    model.add_argument("--pictures", metavar="FOLDER", help="OmniAudio's MetaCLIP (the one in the model folders)")
    model.add_argument("--device", default="auto", metavar="NAME", help=f"where to compute: {DEVICES}")
    model.add_argument("--dtype", choices=DTYPES, default="auto", help="precision, as in `con360 generate` (auto)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
