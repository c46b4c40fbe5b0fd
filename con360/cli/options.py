"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..choices import EYES, LAYOUTS, PRESETS, PROJECTIONS, QUALITIES, VIDEO_CODECS, WRITTEN_HDR
from ..sound.channels import AMBISONICS

DEVICES = "cuda, cuda:1, mps or cpu; auto takes the first available (auto)"


def add_sound(group: Any) -> None:
    """Add the options of a file's sound."""
    group.add_argument(
        "--audio-track", type=whole, metavar="N", help="number of the sound track, from 1 (the file's default)"
    )
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "--ambisonics", choices=AMBISONICS, default="auto",
        help="meaning of 4, 9 or 16 channels: AmbiX (ACN, SN3D), N3D (ACN), FuMa, or none: loudspeakers; auto reads "
        "the metadata, and assumes AmbiX where there is none (auto)",
    )  # fmt: skip
    kind.add_argument(
        "--fuma", dest="ambisonics", action="store_const", const="fuma", default=argparse.SUPPRESS,
        help="the same as --ambisonics fuma",
    )  # fmt: skip
    group.add_argument(
        "--head-locked", action="store_true",
        help="the last two of 6, 11 or 18 channels are a stereo pair that does not turn",
    )  # fmt: skip


def add_picture(group: Any, eye: str = "as the metadata says", upright: bool = True) -> None:
    """Add the options of how a file's picture is read."""
    group.add_argument("--eye", choices=EYES, help=f"stereo video: one eye, or the whole picture ({eye})")
    group.add_argument(
        "--layout", choices=LAYOUTS, default="auto", help="how the eyes lie in the picture (as the metadata says)"
    )
    group.add_argument(
        "--projection", choices=PROJECTIONS, default="auto", help="of the picture (as the metadata says)"
    )
    group.set_defaults(upright=False)
    if upright:
        group.add_argument(
            "--upright", action="store_true", help="turn picture and sound as the metadata says that the camera leant"
        )


def add_saliency(group: Any) -> None:
    """Add the options of the saliency estimate."""
    group.add_argument(
        "--saliency", metavar="NAME|FILE",
        help="'multi-cue', 'training-free', or a file with SalViT360's weights (multi-cue for the viewpoints; the "
        "control's own method for the control)",
    )  # fmt: skip
    group.add_argument(
        "--faces",
        metavar="FILE|none",
        help="CenterFace as ONNX: multi-cue's face detector (the one in the model folders)",
    )


def add_coding(group: Any) -> None:
    """Add the options of a written picture's coding."""
    group.add_argument(
        "--codec", choices=VIDEO_CODECS,
        help="H.265 makes smaller files, and fewer players show it (H.264; with --preset, its own)",
    )  # fmt: skip
    group.add_argument(
        "--quality", choices=QUALITIES, default=QUALITIES[0], help="fewer bytes for a coarser picture (high)"
    )


def add_preset(group: Any, picture: str = "") -> None:
    """Add the option of a kind of file; `picture` says what becomes of the picture."""
    group.add_argument(
        "--preset", choices=PRESETS,
        help="file for YouTube, Quest and VLC, with a head-locked pair, with third-order sound, or to edit (OUT.mov)"
        f"{picture}",
    )  # fmt: skip


def add_hdr(group: Any) -> None:
    """Add the option of HDR in a written file."""
    group.add_argument(
        "--hdr", choices=WRITTEN_HDR, default=WRITTEN_HDR[0],
        help="HDR10 and HLG: map to SDR, or keep with 10 bits in H.265 or ProRes (tone-map)",
    )  # fmt: skip


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is wanted, got {text!r}") from None


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is wanted, got {text!r}") from None


def direction(text: str) -> tuple[float, float]:
    """Read a direction, YAW,PITCH in degrees."""
    yaw, comma, pitch = text.partition(",")
    found = number(yaw), number(pitch) if comma else 0.0
    if not (math.isfinite(found[0]) and -90 <= found[1] <= 90):
        raise argparse.ArgumentTypeError(f"YAW,PITCH are degrees, and the pitch -90 to 90; got {text!r}")
    return found


def front(text: str) -> float | str:
    """Read the yaw of a new front, or "initial"."""
    return text if text == "initial" else number(text)


def scale(text: str) -> float:
    """Read a guidance scale, or "off"."""
    # A guidance scale of 1 weighs the unconditional prediction with 0.
    return 1.0 if text == "off" else number(text)
