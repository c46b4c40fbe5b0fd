"""Train what the paper's ablations compare, in miniature, and judge all on the same unseen scenes.

    python -m train.omniaudio.ablate --out runs/omniaudio --steps 1000 --scenes 256
    python -m train.omniaudio.ablate --out runs/omniaudio --steps 1000 --only published ERP view

`--out` holds `codec.safetensors` and `pictures.safetensors`; weights, results and `ablations.md` go into its folder
`ablations`. Every variant is trained for the same steps. The first trainings see no pictures, so variants share them. A
killed run goes on with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from con360.errors import InputError
from con360.models.omniaudio import OmniAudio, PanoramaUse
from con360.models.waveform_codec import WaveformCodec
from con360.sounding.small_encoder import SmallEncoder
from train.checkpoint import check_finished
from train.evaluation.field_tables import DIRECTIONS, definitions, summaries, table
from train.evaluation.fields import figures
from train.evaluation.store import Store, write_json
from train.omniaudio.cache import FieldCache, features_of, whole_picture
from train.omniaudio.flow import guidance, load_flow, made_sound, new_model, seen_by
from train.omniaudio.judge import (
    BANDS_HZ,
    RATES,
    Job,
    Scenes,
    above_floor,
    gathered,
    measure_beside,
    run,
    through_codec,
)
from train.omniaudio.run import load_codec, load_pictures, train
from train.omniaudio.settings import FEATURES, RATES_HZ, Branches, FlowConfig

First = Literal["both", "fine", "coarse", "none"]


@dataclass(frozen=True)
class Variant:
    """Name what differs: the first trainings, the pictures, and how the panorama enters."""

    first: First = "both"
    branches: Branches = "erp+view"
    panorama: PanoramaUse = "maximum"


VARIANTS: dict[str, Variant] = {
    "published": Variant(),
    "fine alone": Variant(first="fine"),
    "coarse alone": Variant(first="coarse"),
    "no pre-training": Variant(first="none"),
    "EAC and view": Variant(branches="eac+view"),
    "view": Variant(branches="view"),
    "EAC": Variant(branches="eac"),
    "ERP": Variant(branches="erp"),
    "panorama per frame": Variant(panorama="per_frame"),
    "no pictures": Variant(branches="none"),
}
UNSEEING = "no pictures"
SEEING = tuple(name for name in VARIANTS if name != UNSEEING)
# The row of the true sound through the codec, which all variants share.
FLOOR = "the codec alone"


def file_of(name: str) -> str:
    return f"{name.lower().replace(' ', '-')}.safetensors"


@dataclass(frozen=True)
class Ablation:
    """Hold what all variants share.

    Args:
        out: folder of codec and picture encoder.
        steps: of each variant. first_steps: of each first training.
        pool: scenes to train on. batch: clips of a step.
        mixed_precision: of every training, as `RunConfig` has it.
    """

    out: Path
    steps: int
    first_steps: int
    pool: int
    batch: int
    mixed_precision: str = "no"

    @property
    def folder(self) -> Path:
        return self.out / "ablations"

    def config(self, file: str, **settings: Any) -> FlowConfig:
        shared = {
            "pool": self.pool, "batch_size": self.batch, "mixed_precision": self.mixed_precision, "steps": self.steps,
            "codec": self.out / "codec.safetensors", "pictures": self.out / "pictures.safetensors",
        }  # fmt: skip
        return FlowConfig(out=self.folder / file, **{**shared, **settings})

    def first(self, kind: First) -> list[FlowConfig]:
        """Trainings without pictures that come before a variant's own, in order."""
        coarse = self.config("first-coarse.safetensors", train="coarse", steps=self.first_steps)
        fine = self.config("first-fine.safetensors", train="fine", steps=self.first_steps)
        both = self.config("first-both.safetensors", train="fine", steps=self.first_steps, init=coarse.out)
        return {"none": [], "coarse": [coarse], "fine": [fine], "both": [coarse, both]}[kind]

    def runs(self, name: str) -> list[FlowConfig]:
        """All trainings of a variant, in order."""
        variant = VARIANTS[name]
        before = self.first(variant.first)
        init = before[-1].out if before else None
        own = self.config(file_of(name), init=init, branches=variant.branches, panorama=variant.panorama)
        return [*before, own]


def train_missing(configs: Sequence[FlowConfig], say: Callable[[str], None]) -> None:
    """Run the trainings that left no file yet.

    Raises:
        InputError: a file was made with other settings.
    """
    for config in configs:
        if config.out.is_file():
            check_finished(config)
        else:
            say(f"training {config.out.stem}")
            train(config, say)


@dataclass(frozen=True)
class Entrant:
    """A trained variant under test."""

    config: FlowConfig
    model: OmniAudio
    encoder: SmallEncoder

    def measure(self, scenes: Scenes, index: int) -> dict[str, Any]:
        """Measure its sound for a scene."""
        panorama, view = _features(scenes, index, self.encoder, self.config.branches.startswith("eac"))
        true = scenes.true(index)
        latents = panorama.new_zeros(self.model.codec.latent_shape(self.model.clip_spec(true.duration_s)))
        clip = seen_by(FieldCache(panorama, view, latents, latents), self.config.branches)
        made = made_sound(self.model, clip, index, guidance(self.config))
        return {"sources": len(scenes.scene(index).performers), "rows": {"made": figures(made, true, BANDS_HZ)}}


@lru_cache(maxsize=8)
def _features(scenes: Scenes, index: int, encoder: SmallEncoder, eac: bool) -> tuple[Any, Any]:
    return features_of(scenes.scene(index), encoder, whole=whole_picture("eac" if eac else "erp"))


def entrant(config: FlowConfig, encoder: SmallEncoder) -> Entrant:
    """Load a variant."""
    model = new_model(load_codec("small", config.codec), FEATURES["small"], config.panorama)
    load_flow(model, config.out)
    return Entrant(config, model, encoder)


def judge(
    ablation: Ablation, names: Sequence[str], scenes: int, rates: Sequence[str], say: Callable[[str], None]
) -> str:  # fmt: skip
    """Measure every variant on unseen scenes; write and return the tables."""
    encoder, folder = load_pictures(ablation.out / "pictures.safetensors"), ablation.folder / "judged"
    codec = WaveformCodec(load_codec("small", ablation.out / "codec.safetensors"), RATES_HZ["small"])
    jobs: dict[str, Job] = {}
    for name in names:
        config = ablation.runs(name)[-1]
        request = {key: value for key, value in config.to_dict().items() if key in ("steps", "pool", "batch_size")}
        jobs[name] = Store(folder / config.out.stem, request), entrant(config, encoder).measure
    jobs[FLOOR] = Store(folder / "codec", {"split": "test"}), partial(_measure_codec, codec)
    jobs["beside"] = Store(folder / "beside", {"split": "test"}), measure_beside
    sets = [Scenes("colour", rate) for rate in rates]
    run(sets, scenes, float("inf"), jobs, say)
    text, values = report(sets, {name: store for name, (store, _) in jobs.items()}, scenes)
    write_json(ablation.folder / "ablations.json", values)
    (ablation.folder / "ablations.md").write_text(text, encoding="utf-8")
    return text


def _measure_codec(codec: WaveformCodec, scenes: Scenes, index: int) -> dict[str, Any]:
    true = scenes.true(index)
    made = figures(through_codec(codec, true), true, BANDS_HZ)
    return {"sources": len(scenes.scene(index).performers), "rows": {"made": made}}


def report(sets: Sequence[Scenes], stores: dict[str, Store], count: int) -> tuple[str, dict[str, Any]]:
    """Write a table for each kind of scenes, and the same as plain values; set each beside what saw no pictures."""
    parts, values = ["# Ablations on procedural scenes\n", "Intervals: 95 %, bootstrap over scenes.\n"], {}
    for scenes in sets:
        rows, names, _ = gathered(scenes, stores, count)
        found = summaries(rows, DIRECTIONS)
        values[scenes.part] = found
        parts += [f"## {scenes.title}\n", table(found, DIRECTIONS, names)]
        parts += [above_floor(rows, name, UNSEEING, FLOOR) for name in rows if UNSEEING in rows and name in SEEING]
    return "\n".join([*parts, definitions(published=False)]), values


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ablate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of codec and picture encoder")
    add("--steps", type=int, required=True, help="steps of each variant, a quarter of the main run's")
    add("--first-steps", type=int, help="steps of each first training (default: half of --steps)")
    add("--pool", type=int, default=FlowConfig().pool, help="scenes to train on")
    add("--batch", type=int, default=FlowConfig().batch_size, help="clips of a step")
    add("--mixed-precision", choices=("no", "fp16", "bf16"), default="no", help="of the trainings (default: no)")
    add("--scenes", type=int, default=256, help="unseen scenes of each kind (default: 256)")
    add("--rates", nargs="+", choices=tuple(RATES), default=list(RATES), help="how fast everything moves")
    add("--only", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS), help="variants to compare")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    first_steps = args.first_steps or max(1, args.steps // 2)
    ablation = Ablation(args.out, args.steps, first_steps, args.pool, args.batch, args.mixed_precision)
    try:
        for name in args.only:
            train_missing(ablation.runs(name), print)
        print(judge(ablation, args.only, args.scenes, args.rates, lambda line: print(line, flush=True)))
    except InputError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
