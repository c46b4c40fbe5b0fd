"""Parse the command line into requests."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__
from ..caption.prompts import DEFAULT_BATCH, DEFAULT_TIMES
from ..choices import BUILT_IN_MODEL, DTYPES, HOLDS, MEMORY_MODES, RANKINGS, SAMPLERS, SOUND_KINDS, STEREO_LAWS
from .guide import add_meaning
from .manual import (
    AMBISONICS,
    AMBISONICS_NOTES,
    CAPTION,
    CAPTION_NOTES,
    CHECK,
    CHECK_NOTES,
    CONVERT,
    CONVERT_NOTES,
    DEMO,
    DEMO_NOTES,
    GENERATE,
    GENERATE_NOTES,
    LEVEL,
    LEVEL_NOTES,
    LISTEN,
    LISTEN_NOTES,
    MANUAL,
    MODELS,
    MODELS_NOTES,
    PAGE,
    PAGE_NOTES,
    PLACE,
    PLACE_NOTES,
    PROJECT,
    PROJECT_NOTES,
    REFRAME,
    REFRAME_NOTES,
    VIEWS,
    VIEWS_NOTES,
    WHEN,
    WHEN_NOTES,
)
from .options import (
    DEVICES,
    add_coding,
    add_hdr,
    add_picture,
    add_preset,
    add_saliency,
    add_sound,
    front,
    number,
    scale,
    whole,
)
from .project_options import add_project
from .redo import add_redo
from .requests import Request, request_of
from .sound_options import add_ambisonics, add_clip_sound, add_listen, add_page, add_place, add_time_track, add_when


class Parser(argparse.ArgumentParser):
    """Report an error in one sentence; --help has the usage."""

    given: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):
        self.given = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        dashed = [a for a in self.given if a.startswith("-") and os.path.exists(a)]
        hint = f" A file name that begins with a dash is written ./{dashed[0]}" if dashed else ""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.{hint}\n")


class ManualFormatter(argparse.RawDescriptionHelpFormatter):
    """Put an option on one line; name its choices once, not for each of its forms."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, action.dest.upper())}"


def parse(arguments: Sequence[str] | None = None) -> Request:
    """The request of a command line.

    Args:
        arguments: without the program's name; None takes the process's own.

    Raises:
        SystemExit: after --help or --version, or with status 2 where the options cannot be read.
    """
    return request_of(build_parser().parse_args(arguments))


def build_parser() -> Parser:
    """The parser of all commands."""
    form: dict[str, Any] = {"formatter_class": lambda prog: ManualFormatter(prog, max_help_position=28, width=88)}
    parser = Parser(prog="con360", usage="con360 COMMAND [OPTIONS]", description=MANUAL, **form)
    parser.add_argument("--version", action="version", version=f"con360 {__version__}")
    commands = parser.add_subparsers(
        prog="con360", dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )

    def command(name: str, description: str, notes: str, usage: str = "") -> Parser:
        words = f"con360 {name} {usage} [OPTIONS]" if usage else None
        return commands.add_parser(name, usage=words, description=description, epilog=notes, **form)

    _add_demo(command("demo", DEMO, DEMO_NOTES))
    _add_generate(command("generate", GENERATE, GENERATE_NOTES, "INPUT -o OUT.mp4"))
    _add_reframe(command("reframe", REFRAME, REFRAME_NOTES, "INPUT -o OUT.mp4"))
    _add_level(command("level", LEVEL, LEVEL_NOTES, "INPUT -o OUT.mp4"))
    _add_check(command("check", CHECK, CHECK_NOTES, "FILE|FOLDER"))
    add_project(command("project", PROJECT, PROJECT_NOTES, "FLAT -o OUT.mp4"))
    add_place(command("place", PLACE, PLACE_NOTES, "SOUND[@PLACE] ... [--on CLIP] -o OUT"))
    add_ambisonics(command("ambisonics", AMBISONICS, AMBISONICS_NOTES, "CLIP -o OUT.mp4"))
    add_listen(command("listen", LISTEN, LISTEN_NOTES, "INPUT -o OUT.wav"))
    add_when(command("when", WHEN, WHEN_NOTES, "CLIP -o TRACK.json"))
    add_page(command("page", PAGE, PAGE_NOTES, "CLIP -o OUT.html"))
    _add_views(command("views", VIEWS, VIEWS_NOTES, "INPUT --out FOLDER"))
    _add_caption(command("caption", CAPTION, CAPTION_NOTES, "INPUT --captioner FOLDER"))
    _add_models(command("models", MODELS, MODELS_NOTES))
    _add_convert(command("convert", CONVERT, CONVERT_NOTES, "INPUT OUTPUT"))
    return parser


def _add_demo(parser: Parser) -> None:
    parser.add_argument("--out", default="con360-demo", metavar="FOLDER", help="where to write (con360-demo)")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the noise that both views start from (0)")
    parser.add_argument("--steps", type=whole, help="denoising steps (as the model recommends)")
    _add_model(parser)
    parser.set_defaults(json=False)


def _add_generate(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a 360° video or picture, equirectangular, about 2:1")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="the clip to write")
    _add_source(parser.add_argument_group("which part of INPUT"))
    add_sound(parser.add_argument_group("sound of INPUT"))
    _add_view(parser.add_argument_group("which view"))
    _add_sampling(parser.add_argument_group("generation"))
    _add_captioning(parser.add_argument_group("caption by models, instead of --caption"))
    _add_start(parser.add_argument_group("start from picture and sound"))
    add_time_track(parser.add_argument_group("when it sounds"))
    add_meaning(parser.add_argument_group("what it means"))
    add_redo(parser.add_argument_group("make a span anew"))
    model = parser.add_argument_group("model")
    _add_model(model)
    model.add_argument("--memory", choices=MEMORY_MODES, help="low keeps one network at a time on the device (normal)")
    add_clip_sound(parser.add_argument_group("sound around the listener"))
    report = parser.add_argument_group("report")
    report.add_argument("--conditions", metavar="PNG", help="draw saliency, views, BASD, caption and spectrograms")
    report.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def _add_reframe(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a 360° video, equirectangular, about 2:1")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="the video to write")
    look = parser.add_argument_group("where to look")
    look.add_argument("--follow", type=whole, metavar="K", help="the K-th most salient region (1, the most salient)")
    look.add_argument("--yaw", type=number, metavar="DEG", help="look there instead; right is positive (0)")
    look.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    look.add_argument("--roll", type=number, metavar="DEG", help="lean to the right, -180 to 180 (0, level)")
    look.add_argument("--fov", type=number, metavar="DEG", help="field of view across the longer side (90)")
    look.add_argument("--path", "--keyframes", metavar="KEYFRAMES.json", help="move along keyframes")
    add_saliency(look)
    look.add_argument("--device", default="auto", metavar="NAME", help=f"where saliency is computed: {DEVICES}")
    _add_part(parser.add_argument_group("which part of INPUT"))
    made = parser.add_argument_group("result")
    made.add_argument("--size", metavar="WxH", help="even numbers (as many pixels per degree as the source)")
    made.add_argument("--aspect", metavar="W:H", help="shape of the picture without --size, such as 9:16 (1:1)")
    made.add_argument("--fps", type=number, metavar="N", help="constant frame rate (each frame keeps its own time)")
    made.add_argument(
        "--sound", choices=SOUND_KINDS, default="auto",
        help="stereo, mono, first-order Ambisonics or two ears on headphones, turned with the view; auto keeps mono "
        "and stereo, and makes stereo of the rest (auto)",
    )  # fmt: skip
    made.add_argument("--hrtf", metavar="FILE.sofa", help="your own ears for --sound headphones (those of MIT KEMAR)")
    made.add_argument(
        "--stereo", choices=STEREO_LAWS, default="cardioids",
        help="law that makes Ambisonics stereo: two microphones, or panning each band between two loudspeakers "
        "(cardioids)",
    )  # fmt: skip
    add_preset(made)
    add_hdr(made)
    made.add_argument(
        "--write-keyframes", metavar="KEYFRAMES.json", help="write the camera's path too, to edit it for --keyframes"
    )
    add_sound(parser.add_argument_group("sound of INPUT"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def _add_level(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a 360° video, equirectangular, about 2:1")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="the 360° video to write")
    turn = parser.add_argument_group("turn, in this order")
    turn.add_argument("--auto", action="store_true", help="undo the tilt of the camera that the file states")
    turn.add_argument("--yaw", type=number, default=0.0, metavar="DEG", help="bring this direction to the middle (0)")
    turn.add_argument("--pitch", type=number, default=0.0, metavar="DEG", help="-90 down to 90 up (0)")
    turn.add_argument(
        "--roll",
        type=number,
        default=0.0,
        metavar="DEG",
        help="lean the camera to its right: the picture turns left (0)",
    )
    turn.add_argument(
        "--recentre", type=front, metavar="DEG|initial",
        help="then make this yaw the front; 'initial' is where the file asks players to begin (as it is)",
    )  # fmt: skip
    _add_part(parser.add_argument_group("which part of INPUT"), eye="both, each turned by itself", upright=False)
    made = parser.add_argument_group("result")
    add_preset(made)
    add_coding(made)
    add_hdr(made)
    add_sound(parser.add_argument_group("sound of INPUT"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def _add_check(parser: Parser) -> None:
    parser.add_argument("input", metavar="FILE|FOLDER", help="a video, picture or sound, or a folder of them")
    parser.add_argument("--all", action="store_true", help="show lines that are good or unknown too (the others)")
    add_sound(parser.add_argument_group("sound of FILE"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def _add_views(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a 360° video, equirectangular, about 2:1")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write")
    look = parser.add_argument_group("which views")
    look.add_argument("--count", type=whole, metavar="N", help="so many evenly around, 2 to 16 (6)")
    look.add_argument("--above-below", action="store_true", help="the last two of them look straight up and down")
    look.add_argument("--regions", type=whole, metavar="K", help="the K most salient regions instead")
    look.add_argument("--fov", type=number, metavar="DEG", help="field of view across the longer side (90)")
    add_saliency(look)
    look.add_argument("--device", default="auto", metavar="NAME", help=f"where saliency is computed: {DEVICES}")
    _add_part(parser.add_argument_group("which part of INPUT"))
    made = parser.add_argument_group("clips")
    made.add_argument("--size", metavar="WxH", help="even numbers (a square with the source's pixels per degree)")
    made.add_argument("--fps", type=number, metavar="N", help="constant frame rate (each frame keeps its own time)")
    made.add_argument("--with-sound", action="store_true", help="with what each view's microphone hears (silent)")
    add_sound(parser.add_argument_group("sound of INPUT"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")


def _add_models(parser: Parser) -> None:
    parser.add_argument("--folder", metavar="F", help="look there alone; laid out like ComfyUI's models folder")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def _add_convert(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a pickled checkpoint, or a folder with some")
    parser.add_argument("output", metavar="OUTPUT", help="the .safetensors file, or the folder, to write")
    parser.add_argument("--half", action="store_true", help="store float32 as float16 (as it is)")
    parser.add_argument(
        "--tensors-only", action="store_true", help="drop objects that the checkpoint names besides tensors (refuse)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def _add_caption(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a 360° video or picture, equirectangular, about 2:1")
    _add_source(parser.add_argument_group("which part of INPUT"))
    _add_captioning(parser.add_argument_group("caption models"), required=True)
    parser.add_argument(
        "--model", metavar="NAME|FOLDER",
        help="joint model whose tokenizers measure the short caption (CLIP's 77 tokens are estimated)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="NAME", help=f"where to compute: {DEVICES}")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def _add_captioning(group: Any, required: bool = False) -> None:
    group.add_argument(
        "--captioner", required=required, metavar="FOLDER", help="BLIP-2 or BLIP; writes the caption from the picture"
    )
    group.add_argument(
        "--caption-llm", metavar="FOLDER", help="language model that merges the faces' captions (merged by rule)"
    )
    group.add_argument(
        "--caption-times", type=whole, default=DEFAULT_TIMES, metavar="N", help="moments to look at (%(default)s)"
    )
    group.add_argument(
        "--caption-batch", type=whole, default=DEFAULT_BATCH, metavar="N", help="faces at once (%(default)s)"
    )
    group.add_argument("--face-prompt", metavar="TEXT|@FILE", help="beginning of each face's caption")
    group.add_argument("--merge-prompt", metavar="TEXT|@FILE", help="request for the long caption")
    group.add_argument("--short-prompt", metavar="TEXT|@FILE", help="request for the short caption")


def _add_source(group: Any) -> None:
    group.add_argument("--start", type=number, default=0.0, metavar="S", help="where to begin, in seconds (0)")
    group.add_argument("--duration", type=number, default=4.0, metavar="S", help="how long, 0.5 to 4 seconds (4)")
    add_picture(group)


def _add_part(group: Any, **picture: Any) -> None:
    group.add_argument("--start", type=number, default=0.0, metavar="S", help="where to begin, in seconds (0)")
    group.add_argument("--duration", type=number, metavar="S", help="how long (to the end)")
    add_picture(group, **picture)


def _add_view(group: Any) -> None:
    group.add_argument(
        "--viewpoint", type=whole, metavar="K", help="rank of the salient region to look at (1, the most salient)"
    )
    group.add_argument(
        "--viewpoints", metavar="K,L,...", help="several ranks, a file each: OUT-K.mp4, OUT-L.mp4, over one sound"
    )
    group.add_argument("--yaw", type=number, metavar="DEG", help="look there instead; right is positive (0)")
    group.add_argument("--pitch", type=number, metavar="DEG", help="-90 down to 90 up (0)")
    group.add_argument("--fov", type=number, metavar="DEG", help="field of view, across and down (90)")
    group.add_argument(
        "--choose-by", choices=RANKINGS, default="subject",
        help="subject: the most saliency under a narrow window; centroid: the paper's centres of regions (subject)",
    )  # fmt: skip
    group.add_argument(
        "--track", choices=("still", "follow"), default="still",
        help="hold the camera still, or follow the region (still)",
    )  # fmt: skip
    add_saliency(group)


def _add_sampling(group: Any) -> None:
    group.add_argument("--caption", metavar="TEXT", help="what is seen and heard all around (none)")
    group.add_argument("--negative", default="", metavar="TEXT", help="what the clip should not show or sound like")
    group.add_argument("--seed", type=whole, default=0, help="seed of the noise; the same seed gives the same clip (0)")
    group.add_argument("--steps", type=whole, help="denoising steps (as the model recommends)")
    group.add_argument("--sampler", choices=SAMPLERS, help="dpm++ needs fewer steps (the model's own, else ddim)")
    group.add_argument(
        "--cfg-video", type=scale, metavar="X", help="guidance scale of the picture, or 'off' (the model's own)"
    )
    group.add_argument(
        "--cfg-audio", type=scale, metavar="X", help="guidance scale of the sound, or 'off' (the model's own)"
    )
    group.add_argument(
        "--cfg-control", type=scale, metavar="X", help="guidance scale of the control alone, by a third pass ('off')"
    )
    group.add_argument(
        "--strength", type=number, default=1.0, metavar="X", help="strength of the control; 0 is off (1)"
    )
    group.add_argument(
        "--saliency-strength", type=number, default=1.0, metavar="X", help="strength of the saliency maps alone (1)"
    )
    group.add_argument(
        "--basd-strength", type=number, default=1.0, metavar="X", help="strength of the BASD maps alone (1)"
    )
    group.add_argument(
        "--control-start", type=number, metavar="X", help="fraction of the steps after which the control begins (0)"
    )
    group.add_argument(
        "--control-end", type=number, metavar="X", help="fraction of the steps after which the control ends (1)"
    )


def _add_start(group: Any) -> None:
    group.add_argument(
        "--start-from", metavar="view|MEDIA",
        help="start from the view's own picture and sound in INPUT, or from a file, instead of noise",
    )  # fmt: skip
    group.add_argument(
        "--denoise",
        type=number,
        metavar="X",
        help="how much of the start to replace: above 0, up to 1 = all (0.6; 1 with --hold)",
    )
    group.add_argument("--denoise-sound", type=number, metavar="X", help="the same for the sound (as --denoise)")
    group.add_argument(
        "--hold", choices=HOLDS,
        help="keep the start's picture and generate its sound, or the reverse",
    )  # fmt: skip


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model", default=BUILT_IN_MODEL, metavar="NAME|FOLDER",
        help="'con360-tiny', a name that `con360 models` lists, a folder, or a con360-model.json (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--part", action="append", default=[], metavar="NAME=PATH",
        help="take a part from elsewhere: video, motion, audio, connectors, vae or tokenizer; may be repeated",
    )  # fmt: skip
    group.add_argument("--control", metavar="FILE|none", help="control module, or none (the model's own)")
    group.add_argument("--device", default="auto", metavar="NAME", help=f"where to compute: {DEVICES}")
    group.add_argument(
        "--dtype", choices=DTYPES, default="auto",
        help="precision; auto is bfloat16 on a CUDA GPU that has it, else float16, and float32 on a CPU and mps (auto)",
    )  # fmt: skip
