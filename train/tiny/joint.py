"""Train the tiny bundle's denoisers, connectors and control together, in stages.

From the built-in model on, picture and sound each on a core (train/tiny.yaml runs them one after another):

    FROM="--start con360/bundle --cache runs/tiny/cache"
    python -m train.tiny.joint picture --out runs/tiny/picture $FROM
    python -m train.tiny.joint clip    --out runs/tiny/picture $FROM --side picture
    python -m train.tiny.joint listen  --out runs/tiny/sound $FROM
    python -m train.tiny.joint sound   --out runs/tiny/sound $FROM
    python -m train.tiny.joint clip    --out runs/tiny/sound $FROM --side sound
    python -m train.tiny.joint join    --out runs/tiny --picture runs/tiny/picture --sound runs/tiny/sound
    python -m train.tiny.vocoder --out runs/tiny --codecs con360/bundle --minutes 20
    python -m train.tiny.joint export  --out runs/tiny --codecs con360/bundle --vocoder runs/tiny/vocoder \\
                                       --bundle runs/tiny/bundle

Each stage continues from the last checkpoint in `--out` and writes a new one; without one it begins at `--start`. A
killed stage goes on where it saved last, at most four minutes before. `--baseline` trains the same networks without
maps and time tracks, to compare with.

    read     single frames of half the size, from pure noise. Only caption and maps say what to draw, so the network
             learns to bind words to directions, at a third of the cost.
    picture  single frames at all noise levels.
    listen   sounds from pure noise. Only caption, maps and time track say which voice is how loud, and when.
    sound    the audio side at all noise levels.
    clip     32 frames with sound, with motion modules and connectors.
    join     the picture of one run with the sound of another.

From scratch, `train.tiny.codecs` and `train.tiny.text` write what `--start` then names, the stages before the first
clips take `--encoder`, and `read` comes first.

Map features are resampled into the view. Base and control are trained together, because with a frozen base and few
steps the control stays weak (method notes: 0.09 of true views matched, against 0.53 trained jointly).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from train.loop import exit_status
from train.tiny.model import SIDES
from train.tiny.run import Stage, join, train_stage
from train.tiny.work import CACHES, STAGES, Places, open_cache

# Sides that the single-sided stages train.
_SIDE_OF = {"read": "picture", "picture": "picture", "listen": "sound", "sound": "sound"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["cache", *STAGES, "join", "export"])
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--start", type=Path, help="model folder, or an earlier --out, to go on from")
    parser.add_argument("--codecs", type=Path, help="folder with vae_v, vae_a and vocoder; --start's by default")
    parser.add_argument("--cache", type=Path, help="folder of encoded examples; OUT/cache by default")
    parser.add_argument("--side", choices=[*SIDES, "both"], default="both", help="clip: what learns")
    parser.add_argument("--encoder", action="store_true", help="train the map encoder too")
    parser.add_argument("--baseline", action="store_true", help="train or export without maps")
    parser.add_argument("--minutes", type=float, default=25.0, help="of one core; fewer end a killed stage sooner")
    parser.add_argument("--steps", type=int, help="steps instead of minutes")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--bfloat16", action="store_true", help="products in half precision")
    parser.add_argument("--threads", type=int, default=1, help="cores to compute with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(CACHES), help="cache: the one to build")
    parser.add_argument("--picture", type=Path, help="join: the run whose picture to take")
    parser.add_argument("--sound", type=Path, help="join: the run whose sound to take")
    parser.add_argument("--bundle", type=Path, default=Path("con360/bundle"), help="export: where to write")
    parser.add_argument("--vocoder", type=Path, help="export: folder of the vocoder; that of --codecs by default")
    parser.add_argument("--field", type=Path, help="export: direction head to put into the control file")
    args = parser.parse_args()
    if args.baseline and args.stage in ("read", "listen", "cache", "join"):
        parser.error("--baseline belongs to the stages picture, sound, clip and export")
    if args.stage == "cache" and not args.only or args.stage == "join" and not (args.picture and args.sound):
        parser.error("cache needs --only, join needs --picture and --sound")
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    # The switch's name misleads: it holds for CPUs too, where plain attention makes these small steps 12 % shorter.
    torch.backends.cuda.enable_flash_sdp(False)
    start = args.start or args.out
    places = Places(args.out, start, args.codecs or start, args.cache or args.out / "cache")
    if args.stage == "cache":
        open_cache(places, args.only)
    elif args.stage == "join":
        join(args.out, args.picture, args.sound)
    elif args.stage == "export":
        from train.tiny.export import export_bundle

        export_bundle(places, args.bundle, vocoder=args.vocoder, field=args.field, baseline=args.baseline)
    else:
        side = _SIDE_OF.get(args.stage, args.side)
        train_stage(
            Stage(
                args.stage, args.minutes, args.rate, args.seed, args.steps, args.baseline,
                tuple(SIDES) if side == "both" else (side,), args.encoder, args.bfloat16,
            ),
            places,
        )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
