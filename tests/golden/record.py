"""Make `published.json` from the full recorded outputs: `python -m tests.golden.record [FOLDER]`.

FOLDER (default `$CON360_TEST_DATA/fixtures`, else `../shared/fixtures`) holds what the published code computed; its own
README says how.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from golden.keys import key_digest
from golden.store import PATH, summarise
from safetensors.torch import load_file
from shared_data import shared_root

from con360.media.files import atomic_path

# Files whose tensors are kept, as samples and moments.
FILES = (
    "mel_vocoder", "omniaudio_tiny", "omniaudio_video", "pipeline_tiny", "rms_envelope", "salvit360", "scheduler",
    "svg_tiny_additive", "svg_tiny_attn", "syncfusion_onset", "train_tiny",
)  # fmt: skip
# Of these files only what lies beneath a name; the rest is compared where it is computed (tests/sound).
PARTS = {"rms_envelope": "video2rms/"}
PROVENANCE = (
    "Outputs of the official SVG, SalViT360, OmniAudio, SyncFusion and Video-Foley code, run unmodified on CPU in "
    "float32, one thread, with torch 2.11, diffusers 0.42.1, transformers 5.23, torchvision 0.26 and kornia 0.9 "
    "(OmniAudio: transformers 5.24, OpenCV 5.0, Pillow 13.0). No trained weight is involved: weights and inputs come "
    "from their names (filler.py). Each entry is reduced from the full recorded tensor by store.summarise."
)


def main(folder: Path) -> None:
    files = [folder / f"{name}.safetensors" for name in FILES]
    values = {
        "provenance": PROVENANCE,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "networks": _networks(folder),
        "keys": _keys(folder),
        "schedulers": _only(_json(folder, "scheduler"), "audio_config", "video_config", "gammas", "timesteps",
                            "library_prev_timesteps_10"),
        "pipeline": _only(_json(folder, "pipeline_tiny"), "vae_a", "vae_v", "audio_scheduler", "video_scheduler",
                          "runs"),
        "vocoder": _json(folder, "mel_vocoder")["vocoder_config"],
        "training": {kind: _training(part) for kind, part in _json(folder, "train_tiny").items()},
        "salvit360": _salvit(_json(folder, "salvit360")),
        "omniaudio": _omniaudio(folder),
        "onsets": _onsets(folder),
        "tensors": {f"{path.stem}/{name}": summarise(f"{path.stem}/{name}", tensor)
                    for path in files for name, tensor in sorted(load_file(path).items())
                    if name.startswith(PARTS.get(path.stem, ""))},
    }  # fmt: skip
    with atomic_path(PATH) as temporary:
        temporary.write_text(_one_entry_per_line(values))
    print(f"{PATH}: {len(values['tensors'])} tensors, {PATH.stat().st_size / 1000:.0f} kB")


def _one_entry_per_line(values: dict[str, Any]) -> str:
    """JSON whose differences can be read: one line per entry of each section."""
    compact = {"separators": (",", ":")}
    sections = []
    for name, section in values.items():
        if isinstance(section, dict):
            lines = (f"{json.dumps(k)}: {json.dumps(v, **compact)}" for k, v in section.items())
            sections.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            sections.append(f"{json.dumps(name)}: {json.dumps(section)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _json(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def _only(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _networks(folder: Path) -> dict[str, Any]:
    tiny = {kind: _json(folder, f"svg_tiny_{kind}_config") for kind in ("additive", "attn")}
    report = _json(folder, "svg_full_report")
    shapes = {name: entry["out"] for name, entry in report["additive"]["shapes_batch2_32f_256px_4s"].items()
              if name.startswith("connector_in") and ":" not in name}  # fmt: skip
    full = {kind: {part: counts["params"] for part, counts in report[kind].items()
                   if isinstance(counts, dict) and "params" in counts} for kind in ("additive", "attn")}  # fmt: skip
    parts = {kind: report[kind]["unet_svg_by_part"] for kind in full}
    return {**{f"tiny_{kind}": config for kind, config in tiny.items()}, "full": report["configs"],
            "full_parameters": full, "full_connector_parts": parts, "full_site_shapes": shapes}  # fmt: skip


def _keys(folder: Path) -> dict[str, Any]:
    """Digests of the lists of names and shapes, and how many there are beneath each part."""
    digests = {}
    for size in ("tiny", "full"):
        for kind in ("base", "additive", "attn"):
            for part, rows in _json(folder, f"svg_{size}_{kind}_keys").items():
                digests[f"{size}/{kind}/{part}"] = key_digest({row[0]: row[1] for row in rows})
    return digests


def _training(part: dict[str, Any]) -> dict[str, Any]:
    """Drop the names of gradient norms: the norms stay in the names' alphabetical order."""
    norms = [float(f"{part['grad_norms'][name]:.5g}") for name in sorted(part["grad_norms"])]
    names = key_digest({name: [] for name in part["grad_norms"]})
    return {**{k: v for k, v in part.items() if k != "grad_norms"}, "grad_names": names, "grad_norms": norms}


def _salvit(values: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"clip_crc32": values["clip_crc32"]}
    kept["clip16_crc32"] = values["sliding_16_frames"]["clip_crc32"]
    for variant in ("vst", "vac"):
        entry = values[variant]
        keys = {row[0]: row[1] for row in entry["keys"]}
        kept[variant] = {**_only(entry, "prefix", "params", "gflop_one_clip"), "keys": key_digest(keys)}
    return kept


def _omniaudio(folder: Path) -> dict[str, Any]:
    tiny, video, metrics = (_json(folder, f"omniaudio_{name}") for name in ("tiny", "video", "metrics"))
    keys = {"tiny": tiny["keys"], "full": json.loads((folder / "omniaudio_full_keys.json").read_text())}
    report = _json(folder, "omniaudio_full_report")
    return {
        **_only(tiny, "dit_t", "vae_kl", "encoder_latent_lengths"),
        "keys": {size: key_digest({row[0]: row[1] for row in rows}) for size, rows in keys.items()},
        "full": {name: value for name, value in report.items() if name != "shapes_batch1_10s"},
        "full_shapes": report["shapes_batch1_10s"],
        "pad_to_square": {size: entry["size"] for size, entry in video["pad_to_square"].items()},
        "clip_config": {"vision_config": _sizes(video["clip_config"]["vision_config"]),
                        "projection_dim": video["clip_config"]["projection_dim"]},
        "directions": metrics["pairs"],
        "intensities": _intensities(folder),
    }  # fmt: skip


def _onsets(folder: Path) -> dict[str, Any]:
    """Names, shapes and counts of SyncFusion's onset network and of Video-Foley's envelope network."""
    onsets, envelopes = _json(folder, "syncfusion_onset"), _json(folder, "rms_envelope")
    keys = {"syncfusion": onsets["keys"], "video2rms": envelopes["video2rms_full"]["keys"]}
    return {
        "keys": {name: key_digest({row[0]: row[1] for row in rows}) for name, rows in keys.items()},
        "parameters": {"syncfusion": onsets["parameters"], "video2rms": envelopes["video2rms_full"]["parameters"]},
        "clip": onsets["cases"]["case_f"]["clip_u8"],
        "shapes": {case: values["mid_shapes"] for case, values in onsets["cases"].items()},
    }


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if type(value) in (int, float)}


def _intensities(folder: Path) -> dict[str, list[float]]:
    """Mean products of channel 0 and the others: of a sound, directions read nothing else."""
    sounds = load_file(folder / "omniaudio_metrics.safetensors")
    return {
        name: [float(f"{v:.9g}") for v in (x[:1].double() * x[1:].double()).mean(dim=1)] for name, x in sounds.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else shared_root() / "fixtures")
