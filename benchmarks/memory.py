"""`python -m benchmarks.memory [--px N] [--frames N]`: memory of a guided joint step of the published networks.

The networks have the published size, random weights and bfloat16, and run on the processor. Each way of running has a
process of its own, whose peak over the loaded weights is read from the operating system. An accelerator allocates
otherwise: the figure is an estimate of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from con360.sampling.settings import SamplerSettings

WAYS = {
    "guided passes as one batch": {},
    "low memory: passes one by one, one U-Net at a time": {"memory": "low"},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--px", type=int, default=256, help="side of the picture (a multiple of 64)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.frames, args.px)))
        return 0
    print(f"one step, {args.frames} frames of {args.px} px, 4 s of sound, bfloat16, guided\n")
    print("| way | weights there at once | peak beyond the weights | together | seconds |\n|---|---|---|---|---|")
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.memory", "--way", way]
        command += ["--frames", str(args.frames), "--px", str(args.px)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        m = json.loads(done.stdout.splitlines()[-1])
        both = m["weights_gb"] + m["peak_gb"]
        print(f"| {way} | {m['weights_gb']:.2f} GB | {m['peak_gb']:.2f} GB | {both:.2f} GB | {m['seconds']:.0f} |")
    return 0


def measure(way: str, frames: int, px: int) -> dict[str, float]:
    """Measure gigabytes of weights held at once, gigabytes that one step takes beyond them, and its seconds."""
    import torch

    from con360.models.cpu import feed_forward

    from .sampling import full_size

    feed_forward.ROWS = sys.maxsize  # as on an accelerator: all tokens at once
    scenario = full_size(px // 8, frames)
    scenario.unet.to(torch.bfloat16)
    settings = SamplerSettings(steps=1, cfg_video=7.5, cfg_audio=2.5, **WAYS[way])
    stages = {" ".join(g) or "cross": _weight_gb(*scenario.unet.parts(g)) for g in ((), *scenario.unet.groups)}
    _forget_peak()
    before, start = _kilobytes("VmRSS"), time.perf_counter()
    with torch.no_grad():
        scenario.ours(settings=settings)
    seconds, peak = time.perf_counter() - start, (_kilobytes("VmHWM") - before) * 1024 / 1e9
    weights = max(stages.values()) if settings.memory == "low" else sum(stages.values())
    return {"weights_gb": weights, "peak_gb": peak, "seconds": seconds}


def _weight_gb(*modules) -> float:
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters()) / 1e9


def _forget_peak() -> None:
    with open(f"/proc/{os.getpid()}/clear_refs", "w") as file:
        file.write("5")


def _kilobytes(field: str) -> int:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.exit(main())
