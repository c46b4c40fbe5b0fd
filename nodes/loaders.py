"""Load model and control files, under ComfyUI's memory management."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from comfy_api.v0_0_2 import io

from ..con360.choices import DTYPES
from ..con360.errors import InputError
from . import sockets
from .host import files, folders, runtime
from .host.words import Words

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    from ..con360.control import LoadedControl
    from ..con360.models.joint import JointModel

TINY = "con360-tiny (built in)"
BUILT_IN_CONTROL, NO_CONTROL = "built in", "none"
PRECISIONS = list(DTYPES)
PARTS_ALONE, OWN, NO_CONNECTORS = "(parts below)", "(the model's own)", "none"
PART_TOOLTIPS = {
    "video": "Another model for the picture: SD 1.5, from models/checkpoints, models/con360 or models/diffusers.",
    "motion": "Its AnimateDiff motion module for SD 1.5, from models/animatediff_models, con360 or diffusers.",
    "audio": "Another model for the sound: an AudioLDM folder in models/con360 or models/diffusers.",
    "connectors": "The bridge between picture and sound; 'none' runs them side by side, and then no control acts.",
    "vae": "Another VAE for the picture, from models/vae, con360 or diffusers.",
}


@dataclass(frozen=True)
class ManagedModel:
    """Value of a CON360_MODEL link."""

    model: JointModel
    patcher: ModelPatcher


@final
@dataclass(frozen=True)
class ManagedControl:
    """Value of a CON360_CONTROL link."""

    control: LoadedControl
    patcher: ModelPatcher


class Con360ModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360ModelLoader",
            display_name="Con360 Model Loader",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360ModelLoader", "checkpoint", "weights"),
            description="Loads the joint audio-visual model: two U-Nets, their connectors, codecs and text encoders.",
            inputs=[
                io.Combo.Input(
                    "model", options=[TINY, *folders.model_entries(folders.MODELS), PARTS_ALONE],
                    tooltip="The small model that comes with the pack, a folder in models/con360, or the parts below.",
                ),
                precision_input(),
                *(
                    io.Combo.Input(part, options=_part_words(part), default=OWN, optional=True, tooltip=tooltip)
                    for part, tooltip in PART_TOOLTIPS.items()
                ),
            ],
            outputs=[sockets.Con360Model.Output(display_name="model")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None) -> bool | str:
        # A widget that is linked has no value yet.
        return runtime.verdict(model=lambda: model in (None, PARTS_ALONE) or _model_folder(model))

    @classmethod
    def fingerprint_inputs(cls, model: str | None, **kwargs: Any) -> str:
        chosen = list(_picks({k: v for k, v in kwargs.items() if k in PART_TOOLTIPS}).values())
        sources = [Path(path) for path in chosen if path != NO_CONNECTORS]
        sources += [] if model in (None, PARTS_ALONE) else [_model_folder(model)]
        paths = [p for source in sources for p in ([source] if source.is_file() else source.rglob("*")) if p.is_file()]
        return "|".join([str(NO_CONNECTORS in chosen), files.identity(paths)])

    @classmethod
    @runtime.needs_packages
    def execute(cls, model: str, precision: str, **parts: str) -> io.NodeOutput:
        from ..con360.weights.load import load_joint_model
        from ..con360.weights.parts import model_parts

        runtime.check_choice(precision, PRECISIONS, "the precision")
        report = runtime.progress()
        report(0, 1, "loading the model")
        folder = None if model == PARTS_ALONE else _model_folder(model)
        with runtime.outside_inference():
            joint = load_joint_model(model_parts(folder, _picks(parts)), dtype=runtime.comfyui_dtype(precision))
        report(1, 1, "loading the model")
        return io.NodeOutput(ManagedModel(joint, runtime.manage(_networks(joint))))


class Con360ControlLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360ControlLoader",
            display_name="Con360 Control Loader",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360ControlLoader", "control weights", "ControlNet"),
            description="Loads the control module that lets saliency and BASD steer the joint model.",
            inputs=[
                io.Combo.Input(
                    "control", options=[BUILT_IN_CONTROL, NO_CONTROL, *folders.model_entries(folders.CONTROLS)],
                    tooltip="The small model's own module, a file in models/con360_control, or 'none': the caption "
                    "alone steers.",
                ),
            ],
            outputs=[sockets.Con360Control.Output(display_name="control")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, control: str | None) -> bool | str:
        return runtime.verdict(control=lambda: control in (None, NO_CONTROL) or _control_file(control))

    @classmethod
    def fingerprint_inputs(cls, control: str | None, **kwargs: Any) -> str:
        return "" if control in (None, NO_CONTROL) else files.identity([_control_file(control)])

    @classmethod
    @runtime.needs_packages
    def execute(cls, control: str) -> io.NodeOutput:
        from ..con360.control import load_control

        if control == NO_CONTROL:
            return io.NodeOutput(None)
        with runtime.outside_inference():
            loaded = load_control(_control_file(control))
        return io.NodeOutput(ManagedControl(loaded, runtime.manage({"control": loaded.module})))


def precision_input() -> io.Combo.Input:
    """The choice of a number format, the same on every loader that asks."""
    return io.Combo.Input(
        "precision", options=PRECISIONS,
        tooltip="'auto' is bfloat16 where the GPU has it, else float16; float32 on a processor, for the same clip "
        "everywhere. bfloat16 is faster on processors with AMX or AVX512-BF16.",
    )  # fmt: skip


def _networks(model: JointModel) -> dict[str, nn.Module]:
    from torch import nn

    return {name: part for name, part in vars(model).items() if isinstance(part, nn.Module)}


def _part_options(part: str) -> list[str]:
    return [OWN, *([NO_CONNECTORS] if part == "connectors" else []), *folders.part_entries(part)]


def _part_words(part: str) -> Words:
    return Words(_part_options(part), lambda choice: _check_part(part, choice))


def _check_part(part: str, choice: str) -> None:
    if part == "vae":
        runtime.check_choice(choice, _part_options(part), part)
    else:
        runtime.check_weights(choice, _part_options(part), part, "svg" if part == "connectors" else part)


def _picks(parts: dict[str, str]) -> dict[str, str | Path]:
    """Paths of the parts that are not the model's own; a checkpoint file gets ComfyUI's tokenizer."""
    picks: dict[str, str | Path] = {}
    for part, choice in parts.items():
        if choice in (None, OWN):
            continue
        _check_part(part, choice)
        picks[part] = NO_CONNECTORS if choice == NO_CONNECTORS else folders.part_entries(part)[choice]
    tokenizer = folders.comfyui_tokenizer() if Path(picks.get("video", "")).is_file() else None
    if tokenizer is not None:
        picks["tokenizer"] = tokenizer
    return picks


def _model_folder(choice: str) -> Path:
    from ..con360.weights.find import model_folder

    entries = folders.model_entries(folders.MODELS)
    runtime.check_weights(choice, [TINY, *entries, PARTS_ALONE], "the model", "svg")
    return entries.get(choice) or model_folder()


def _control_file(choice: str) -> Path:
    from ..con360.weights.find import control_file, model_folder

    entries = folders.model_entries(folders.CONTROLS)
    runtime.check_weights(choice, [BUILT_IN_CONTROL, NO_CONTROL, *entries], "the control file", "control")
    path = entries.get(choice) or control_file(None, model_folder())
    if path is None:
        raise InputError("the built-in control file is missing from this installation; install the pack again.")
    return path
