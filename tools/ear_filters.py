"""Make the headphone filters that ship, from the SOFA file of MIT KEMAR: `python -m tools.ear_filters SOFA`.

Writes con360/sound/ears.safetensors, and its part at 48 kHz for browsers, web/ears.safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from con360.media.files import atomic_path
from con360.media.sofa import read_sofa
from con360.sound.ear_filters import CROSSOVERS_HZ, ears_of_responses
from con360.sound.headphones import EARS_FILE, ORDERS, RATES_HZ, mirrored

VERSION = "1"
WEB_FILE = Path(__file__).resolve().parent.parent / "web" / "ears.safetensors"
WEB_RATE_HZ = 48000
FACTS = {
    "source": "MIT KEMAR, normal pinna",
    "title": "HRTF Measurements of a KEMAR Dummy-Head Microphone",
    "authors": "Bill Gardner and Keith Martin, MIT Media Lab, 1994",
    "grant": "free with no restrictions on use, provided the authors are cited",
    "made_by": f"tools/ear_filters.py, version {VERSION}",
    "convention": "order<N>.<rate>: left ear, ACN, SN3D; the right ear negates channels of degree m < 0",
}


def made(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Make every filter of the left ear, and the facts for the file's header.

    Raises:
        InputError: no SOFA file, or a head whose sides differ.
    """
    head = read_sofa(path)
    facts = {**FACTS, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    tensors = {}
    for rate_hz in RATES_HZ:
        for order in ORDERS:
            ears = ears_of_responses(head, order, rate_hz)
            apart = float((ears.taps - mirrored(ears.taps[0])).abs().max())
            if apart > 1e-5:
                raise SystemExit(
                    f"{path.name}: left and right differ by {apart:.1e}; this file holds one ear for both."
                )
            tensors[f"order{order}.{rate_hz}"] = ears.taps[0].contiguous()
            facts[f"delay.{rate_hz}"] = str(ears.delay)
    return tensors, facts | {f"crossover_hz.order{order}": f"{hz:g}" for order, hz in CROSSOVERS_HZ.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.ear_filters", description=__doc__)
    parser.add_argument("sofa", type=Path, help="MIT_KEMAR_normal_pinna.sofa")
    tensors, facts = made(parser.parse_args().sofa)
    print(f"SHA-256 {facts['sha256']}")
    for out, rates_hz in ((EARS_FILE, RATES_HZ), (WEB_FILE, (WEB_RATE_HZ,))):
        kept: dict[str, torch.Tensor] = {n: t for n, t in tensors.items() if int(n.split(".")[1]) in rates_hz}
        with atomic_path(out) as temporary:
            save_file(kept, temporary, facts)
        print(f"{out.name}: {len(kept)} filters, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
