"""Write a trained small model as a folder that `con360 ambisonics --model` reads.

    python -m train.omniaudio.export --out runs/omniaudio --bundle runs/omniaudio/bundle

The folder holds `config.json`, `model.safetensors` with OmniAudio's names, and `pictures.safetensors`, the weights in
half precision.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from safetensors.torch import save_file
from torch import Tensor, nn

from con360.errors import InputError
from con360.media.files import atomic_path
from con360.models.omniaudio import OmniAudio, PanoramaUse
from con360.sounding.model import CONFIG, NETWORK, PICTURES, load_ambisonics_model
from con360.weights.omniaudio import VAE
from train.omniaudio.flow import load_flow, networks_of, new_model
from train.omniaudio.run import load_codec, load_pictures
from train.omniaudio.settings import FEATURES, FlowConfig

LARGEST_MB = 12
KNOWS = (
    "It was trained on procedural scenes alone: up to four coloured shapes that play tones. It places other sounds by "
    "chance, and other pictures tell it nothing."
)
DEFAULTS = {"steps": 12, "cfg_audio": 2.0}


def export(model: OmniAudio, encoder: nn.Module, bundle: Path, knows: str = KNOWS) -> None:
    """Write a model and its picture encoder; the folder is read back.

    Raises:
        InputError: the folder would be too large to ship.
    """
    network = {f"{VAE}{name}": t for name, t in model.vae.state_dict().items()}
    for prefix, part in networks_of(model).items():
        network |= {prefix + name: t for name, t in part.state_dict().items()}
    files = {NETWORK: halved(network), PICTURES: halved(encoder.state_dict())}
    size = sum(t.numel() * t.element_size() for state in files.values() for t in state.values()) / 1e6
    if size > LARGEST_MB:
        raise InputError(f"the model has {size:.1f} MB in half precision; a small one has at most {LARGEST_MB}.")
    bundle.mkdir(parents=True, exist_ok=True)
    for name, state in files.items():
        with atomic_path(bundle / name) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
    with atomic_path(bundle / CONFIG) as temporary:
        temporary.write_text(json.dumps(config_of(model, knows), indent=1) + "\n", encoding="utf-8")
    load_ambisonics_model(bundle)
    print(f"written to {bundle}: {sum(file.stat().st_size for file in bundle.iterdir()) / 1e6:.1f} MB")


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision."""
    return {name: t.detach().half().contiguous() for name, t in state.items()}


def config_of(model: OmniAudio, knows: str) -> dict[str, Any]:
    return {
        "panorama": model.panorama, "sample_rate_hz": model.sample_rate_hz, "trained_s": model.trained_s,
        "knows": knows, "defaults": DEFAULTS,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of codec, pictures and flow.safetensors")
    parser.add_argument("--flow", type=Path, help="transformer to export (default: flow.safetensors in --out)")
    parser.add_argument("--panorama", choices=get_args(PanoramaUse), default=FlowConfig().panorama)
    parser.add_argument("--bundle", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    try:
        model = new_model(load_codec("small", args.out / "codec.safetensors"), FEATURES["small"], args.panorama)
        load_flow(model, args.flow or args.out / "flow.safetensors")
        export(model, load_pictures(args.out / "pictures.safetensors"), args.bundle)
    except InputError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
