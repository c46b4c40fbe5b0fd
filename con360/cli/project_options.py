"""Options of `con360 project`."""

from __future__ import annotations

import argparse

from ..choices import EYES
from .options import add_coding, number, whole


def add_project(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("input", metavar="FLAT", help="an ordinary video or picture, of any shape")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="the 360° video to write, or OUT.png")
    parser.add_argument("--panorama", metavar="FILE", help="a 360° video or picture to lay it on (black)")
    parser.add_argument("--mask", metavar="MASK.mp4", help="write the mask too: white where FLAT does not lie")
    place = parser.add_argument_group("its place")
    place.add_argument("--yaw", type=number, metavar="DEG", help="its middle; right is positive (0)")
    place.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    place.add_argument("--roll", type=number, metavar="DEG", help="lean to the right, -180 to 180 (0, level)")
    place.add_argument("--fov", type=number, metavar="DEG", help="angle across its longer side, below 180 (90)")
    place.add_argument("--path", "--keyframes", metavar="KEYFRAMES.json", help="move along keyframes instead")
    place.add_argument(
        "--begin", type=number, default=0.0, metavar="S", help="time of the panorama at which FLAT begins (0)"
    )
    place.add_argument(
        "--eye", choices=EYES, help="stereo panorama: one eye, or the whole picture (both, each with FLAT)"
    )
    made = parser.add_argument_group("result")
    made.add_argument("--feather", type=number, default=2.0, metavar="DEG", help="angle over which its edge fades (2)")
    made.add_argument(
        "--height", type=whole, metavar="PX", help="rows of a black panorama (as fine as FLAT at its middle)"
    )
    made.add_argument(
        "--sound",
        metavar="FILE|none",
        help="take the sound of a file (the panorama's; of a black or still one, FLAT's)",
    )
    add_coding(made)
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
