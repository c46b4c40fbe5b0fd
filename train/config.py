"""Define a training run: one frozen dataclass, read from YAML with command-line overrides."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from con360.choices import BUILT_IN_MODEL
from con360.errors import InputError
from con360.timing import ClipSpec
from train.losses import Dropout

PROCEDURAL = "procedural"
# Second names of settings on the command line.
SHORT_NAMES = {"batch": "batch_size", "rate": "learning_rate"}
Regime = Literal["baseline", "control", "control+cmcpe", "all"]


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class RunConfig:
    """Describe any run of the loop: its length, its optimiser, its records.

    Raises:
        InputError: a value that no run can use.
    """

    out: Path = _option(
        Path("runs/run/run.safetensors"),
        "file to write; checkpoints, logs and caches go into the folder of that name without suffix",
    )
    resume: str = _option(
        "auto", "auto: resume an unfinished run in the same place; no: start over; or a checkpoint folder"
    )

    minutes: float = _option(1.5, "training time; used if neither steps nor epochs are given")
    steps: int | None = _option(None, "optimiser steps")
    epochs: float | None = _option(None, "passes over the data, instead of steps")
    batch_size: int = _option(4, "clips per process and forward pass (--batch)")
    accumulate: int = _option(1, "forward passes per optimiser step")
    learning_rate: float = _option(2e-3, "peak learning rate (--rate)")
    schedule: Literal["cosine", "constant", "inverse"] = _option(
        "cosine", "learning rate after the warm-up; inverse: OmniAudio's law, which has a warm-up of its own"
    )
    rate_floor: float = _option(0.0, "cosine: share of the peak rate that is left at the end")
    warmup: int = _option(10, "steps over which the learning rate rises")
    weight_decay: float = _option(1e-2, "weight decay of AdamW")
    clip_norm: float = _option(1.0, "gradients are scaled down to this norm")
    ema_decay: float = _option(0.999, "decay of the weights' moving average, which is saved; 0: save the last weights")
    seed: int = _option(0, "seed of weights, scenes, order and noise")

    mixed_precision: Literal["no", "fp16", "bf16"] = _option("no", "autocast in forward passes; weights stay float32")
    workers: int = _option(0, "prepared shards: processes that read ahead")

    held_out: int = _option(8, "number of unseen clips for validation losses")
    checkpoint_every: int = _option(500, "steps between checkpoints; 0: only the last")
    keep: int = _option(3, "number of newest checkpoints to keep")
    log_every: int = _option(10, "steps between lines in log.jsonl and TensorBoard")
    sample_every: int = _option(0, "steps between validations (losses and sample clips with sound); 0: none")
    num_samples: int = _option(2, "sample clips per validation")

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise InputError(f"out is {self.out}; wanted a name that ends in .safetensors.")
        for name in self.above_zero():
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; wanted more than 0.")
        for name in self.shares():
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; wanted a share from 0 to 1.")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay is {self.ema_decay}; wanted 0 (off) to below 1.")

    def above_zero(self) -> list[str]:
        """Name the settings that must be more than 0."""
        always = ["held_out", "minutes", "batch_size", "accumulate", "learning_rate", "clip_norm", "keep"]
        return always + [name for name in ("steps", "epochs") if getattr(self, name) is not None]

    def shares(self) -> list[str]:
        """Name the settings from 0 to 1."""
        return ["rate_floor", *(f.name for f in fields(self) if f.name.startswith("drop_"))]

    @property
    def folder(self) -> Path:
        return self.out.with_suffix("")

    @property
    def leaves_gradients_out(self) -> bool:
        """Tell whether a step may leave some trained weights without gradients."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for YAML and JSON."""
        plain = {Path: str, tuple: list}
        return {name: next((f(v) for k, f in plain.items() if isinstance(v, k)), v) for name, v in asdict(self).items()}


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Describe a run over the joint model; `python train/train.py --help` lists every field with its meaning.

    Raises:
        InputError: a value that no run can use.
    """

    out: Path = _option(
        Path("runs/control/control.safetensors"),
        "control file to write; checkpoints, logs and caches go into the folder of that name without suffix",
    )
    base: str = _option(BUILT_IN_MODEL, "model name or folder to train over")
    init: Path | None = _option(None, "control file to start from; none starts at zero weights, which change nothing")

    train: Regime = _option(
        "control",
        "what learns: control (the paper), control+cmcpe (and the connectors), baseline (connectors and U-Nets, no "
        "control), all",
    )
    unets: Literal["all", "motion", "none"] = _option(
        "all", "U-Net weights that learn under baseline and all: all, the motion modules alone, or none"
    )
    geometry: Literal["auto", "pooled", "view"] = _option(
        "auto", "map features pooled (the paper) or resampled into the view; auto: as in the base's own control"
    )
    sound: Literal["auto", "omni", "view"] = _option(
        "auto", "target sound: omni (downmix, the paper) or view (wide microphone); auto: as in the base's control"
    )

    data: str = _option(PROCEDURAL, "procedural, or a folder of prepared shards (train/prepare.py)")
    seconds: float = _option(1.0, "length of the training clips, 0.5 to 4")
    pool: int = _option(96, "procedural: number of scenes to train on")
    cache: bool = _option(True, "procedural: render and encode each scene once, and keep it in a file")
    estimate_every: int = _option(3, "procedural: one in this many clips has estimated saliency; 0: none")

    drop_text: float = _option(0.1, "share of clips without caption and control: the unconditional half of guidance")
    drop_control: float = _option(0.05, "share of clips without control alone")
    drop_saliency: float = _option(0.07, "share of clips with zeros for saliency")
    drop_basd: float = _option(0.07, "share of clips with zeros for BASD")
    drop_x0: float = _option(0.5, "share of clips whose connectors do not see the previous estimate, per modality")

    activation_checkpointing: bool = _option(False, "recompute activations in the backward pass: less memory, slower")
    stages: tuple[str, ...] = _option((), "commands to run in order instead of this loop (train/tiny.yaml)")

    def above_zero(self) -> list[str]:
        return ["pool", *super().above_zero()]

    @property
    def leaves_gradients_out(self) -> bool:
        # A step may leave some U-Net weights without gradients, but none of a control's.
        return self.train in ("baseline", "all")

    @property
    def dropout(self) -> Dropout:
        named = {"saliency": self.drop_saliency, "basd": self.drop_basd}
        return Dropout(self.drop_text, self.drop_control, x0=self.drop_x0, named=named)

    @property
    def with_control(self) -> bool:
        return self.train != "baseline"

    def spec(self) -> ClipSpec:
        return ClipSpec(self.seconds)


Config = TypeVar("Config", bound=RunConfig)


def from_dict(values: Mapping[str, Any], base: Config, where: str = "configuration") -> Config:
    """Return `base` with `values` replaced.

    Raises:
        InputError: an unknown name (the message suggests the nearest), or a value of the wrong type.
    """
    known = typing.get_type_hints(type(base))
    changes = {}
    for given, value in values.items():
        name = SHORT_NAMES.get(given.replace("-", "_"), given.replace("-", "_"))
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *SHORT_NAMES], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "see `python train/train.py --help`."
            raise InputError(f"{where}: there is no setting {given!r}; {hint}")
        changes[name] = _converted(f"{where}: {name}", value, known[name])
    return replace(base, **changes)


def from_yaml(path: str | Path) -> TrainConfig:
    """Read a run over the joint model; the same as `read_yaml`."""
    return read_yaml(path, TrainConfig())


def read_yaml(path: str | Path, base: Config) -> Config:
    """Read a configuration from a YAML file of `name: value` lines; missing names stay as in `base`.

    Raises:
        InputError: no such file, not YAML, or as `from_dict`.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        presets = ", ".join(sorted(preset.stem for preset in Path(__file__).parent.glob("*.yaml")))
        raise InputError(f"there is no configuration {path}; presets in train/ are {presets}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"{path} holds a {type(values).__name__}; wanted lines of `name: value`.")
    return from_dict(values, base, str(path))


def to_yaml(config: RunConfig) -> str:
    import yaml

    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)


def from_arguments(arguments: Sequence[str]) -> TrainConfig:
    """Read a run over the joint model; the same as `read_arguments`."""
    return read_arguments(arguments, TrainConfig())


def read_arguments(arguments: Sequence[str], config: Config) -> Config:
    """Read `--config FILE` over `config`, then override it by each `name=value`, `--name=value` or `--name value`.

    With `--resume CHECKPOINT`, the checkpoint's configuration is the base.
    """
    given = _pairs(arguments)
    if given.get("resume", "auto") not in ("auto", "no"):
        config = read_yaml(Path(given["resume"]).expanduser() / "config.yaml", config)
    if "config" in given:
        config = read_yaml(given.pop("config"), config)
    return from_dict(given, config, "command line")


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        first = rest.pop(0)
        name, equals, value = first.removeprefix("--").partition("=")
        if not equals:
            if not first.startswith("--"):
                raise InputError(f"command line: {first!r} stands alone; wanted name=value or --name value.")
            if not rest or rest[0].startswith("--"):
                raise InputError(f"command line: --{name} needs a value.")
            value = rest.pop(0)
        pairs[name] = value
    return pairs


def describe(defaults: RunConfig) -> str:
    """Write one line per setting: name, default, meaning."""
    lines = []
    for f in fields(defaults):
        default = getattr(defaults, f.name)
        shown = "none" if default in (None, ()) else str(default).lower() if isinstance(default, bool) else default
        lines.append(f"  {f.name:<24} {f.metadata['help']} (default: {shown})")
    return "\n".join(lines)


def _converted(where: str, value: Any, wanted: Any) -> Any:
    """Convert a value from YAML (typed) or from the command line (text) to a field's type."""
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        if value is None or str(value).lower() in ("none", "null"):
            return None
        (wanted,) = (t for t in typing.get_args(wanted) if t is not type(None))
    if typing.get_origin(wanted) is Literal:
        # YAML 1.1 reads a bare `no` as false.
        value = "no" if value is False else value
        if value not in typing.get_args(wanted):
            raise InputError(f"{where} is {value!r}; wanted one of {', '.join(typing.get_args(wanted))}.")
        return value
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise InputError(f"{where} is {value!r}; wanted a list of commands.")
        return tuple(value)
    if wanted is bool:
        if str(value).lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise InputError(f"{where} is {value!r}; wanted true or false.")
        return str(value).lower() in ("true", "yes", "1")
    if wanted is str:
        return "no" if value is False else str(value)
    if isinstance(value, bool) or value is None or isinstance(value, (list, dict)):
        raise InputError(f"{where} is {value!r}; wanted {_NAMES[wanted]}.")
    try:
        # PyYAML reads 1e-5 as text. For whole numbers, 2.5 must not silently become 2.
        return wanted(value) if wanted is not int or not isinstance(value, float) else _whole(value)
    except ValueError as error:
        raise InputError(f"{where} is {value!r}; wanted {_NAMES[wanted]}.") from error


_NAMES = {int: "a whole number", float: "a number", Path: "a path"}


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError("not whole")
    return int(value)
