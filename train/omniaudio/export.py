"""Write a trained model as `con360 ambisonics --model` reads it, in half precision.

    python -m train.omniaudio.export --out runs/omniaudio --bundle runs/omniaudio/bundle
    python -m train.omniaudio.export --out runs/omniaudio_full --size full --bundle runs/omniaudio_full/bundle

A small model is a folder of `config.json`, `model.safetensors` with OmniAudio's names, and `pictures.safetensors`. Of
the full size there is `model.safetensors` alone: its picture encoder is MetaCLIP.
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
from con360.weights.omniaudio import IN_FLOAT32, VAE
from train.omniaudio.flow import load_flow, networks_of, new_model
from train.omniaudio.run import load_codec, load_pictures
from train.omniaudio.settings import FEATURES, FlowConfig, Size

LARGEST_MB = 12
KNOWS = (
    "It was trained on procedural scenes alone: up to four coloured shapes that play tones. It knows no other sights "
    "and sounds."
)
DEFAULTS = {"steps": 12, "cfg_audio": 2.0}


def export(model: OmniAudio, encoder: nn.Module, bundle: Path, knows: str = KNOWS) -> None:
    """Write a small model and its picture encoder; the folder is read back.

    Raises:
        InputError: the folder would be too large to ship.
    """
    files = {NETWORK: network_state(model), PICTURES: halved(encoder.state_dict())}
    size = sum(t.numel() * t.element_size() for state in files.values() for t in state.values()) / 1e6
    if size > LARGEST_MB:
        raise InputError(f"the model has {size:.1f} MB in half precision; a small one has at most {LARGEST_MB}.")
    for name, state in files.items():
        save_state(state, bundle / name)
    with atomic_path(bundle / CONFIG) as temporary:
        temporary.write_text(json.dumps(config_of(model, knows), indent=1) + "\n", encoding="utf-8")
    load_ambisonics_model(bundle)


def network_state(model: OmniAudio) -> dict[str, Tensor]:
    """All weights of a model under OmniAudio's names, in half precision."""
    parts = {**networks_of(model), VAE: model.vae}
    return halved({prefix + name: t for prefix, part in parts.items() for name, t in part.state_dict().items()})


def save_state(state: dict[str, Tensor], path: Path) -> None:
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision, less the few that turn positions and times into angles."""
    return {name: (t if name.endswith(IN_FLOAT32) else t.half()).detach().contiguous() for name, t in state.items()}


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
    parser.add_argument("--size", choices=get_args(Size), default="small")
    parser.add_argument("--bundle", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    try:
        codec = load_codec(args.size, args.out / "codec.safetensors")
        model = new_model(codec, FEATURES[args.size], args.panorama, args.size)
        load_flow(model, args.flow or args.out / "flow.safetensors")
        if args.size == "full":
            save_state(network_state(model), args.bundle / NETWORK)
        else:
            export(model, load_pictures(args.out / "pictures.safetensors"), args.bundle)
        print(f"written to {args.bundle}: {sum(f.stat().st_size for f in args.bundle.iterdir()) / 1e6:.1f} MB")
    except InputError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
