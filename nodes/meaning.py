"""Measure what a clip's caption, picture and sound share, by an encoder that is loaded here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import sockets
from .host import files, folders, runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.meaning.measure import Meaning
    from ..con360.protocols import MeaningEncoder
    from .loaders import ManagedModel

BUILT_IN = "built in"


class Con360MeaningLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360MeaningLoader",
            display_name="Meaning Loader",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360MeaningLoader", "ImageBind", "PE-AV", "CLAP", "CLIP", "embedding"),
            description="Loads an encoder that compares captions, pictures and sounds.",
            inputs=[
                io.Combo.Input(
                    "encoder", options=[BUILT_IN, *folders.meaning_encoders()],
                    tooltip="The one that comes with a model, or PE-AV, ImageBind, or CLAP with CLIP from "
                    "models/con360_meaning; CLAP may lie in models/con360_metrics.",
                ),
                sockets.Con360Model.Input(
                    "model", optional=True, tooltip="For 'built in': the model whose latents it reads.",
                ),
            ],
            outputs=[sockets.Con360Meaning.Output(display_name="encoder")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, encoder: str | None) -> bool | str:
        return runtime.verdict(encoder=lambda: encoder in (None, BUILT_IN) or _named(encoder))

    @classmethod
    def fingerprint_inputs(cls, encoder: str | None, **kwargs: Any) -> str:
        if encoder in (None, BUILT_IN):
            return ""
        places = [Path(place) for place in _named(encoder).split("+")]
        return files.identity([p for place in places for p in _files(place)])

    @classmethod
    @runtime.needs_packages
    def execute(cls, encoder: str, model: ManagedModel | None = None) -> io.NodeOutput:
        from ..con360.meaning.load import load_meaning

        report = runtime.progress()
        report(0, 1, "loading the encoder")
        named = None if encoder == BUILT_IN else _named(encoder)
        with runtime.outside_inference():
            loaded = load_meaning(named, None if model is None else model.model, runtime.device())
        report(1, 1, "loading the encoder")
        return io.NodeOutput(loaded)


class Con360Meaning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360Meaning",
            display_name="Meaning",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360Meaning", "GRAM volume", "alignment score", "cosine"),
            description="Measures how far a caption, a picture and a sound agree: three cosines and their volume.",
            inputs=[
                sockets.Con360Meaning.Input("encoder", tooltip="From Meaning Loader. One that guided the clip may not "
                                            "judge it."),
                io.Image.Input("images", tooltip="The picture."),
                io.Audio.Input("audio", tooltip="Its sound; it is mixed to mono."),
                io.String.Input("caption", multiline=True, tooltip="What the clip shows and sounds like."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the images."),
            ],
            outputs=[
                io.Float.Output(display_name="text_sound", tooltip="Cosine of caption and sound; 1 is agreed."),
                io.Float.Output(display_name="text_picture", tooltip="Cosine of caption and picture."),
                io.Float.Output(display_name="picture_sound", tooltip="Cosine of both; no number without one space."),
                io.Float.Output(display_name="volume", tooltip="Of the three, 0 to 1: 0 wherever they lie in a plane, "
                                "opposite ones as well. No number without one space."),
                io.String.Output(display_name="report", tooltip="The figures and whose they are, in words."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, encoder: MeaningEncoder, images: Tensor, audio: dict[str, Any], caption: str, fps: float
    ) -> io.NodeOutput:
        from ..con360.meaning.measure import figures_text, measure
        from ..con360.sound.levels import to_mono

        report = runtime.progress()
        report(0, 1, "meaning")
        frames, sound = sockets.frames_from_image(images), to_mono(sockets.sound_from_audio(audio))
        with runtime.gives_way(), runtime.outside_inference():
            found = measure(encoder, [caption], frames[None], fps, sound.waveform, sound.sample_rate_hz)
        report(1, 1, "meaning")
        return io.NodeOutput(*_numbers(found), figures_text(found))


def _numbers(found: Meaning) -> list[float]:
    return [math.nan if t is None else float(t) for t in (found.ta, found.tv, found.va, found.volume)]


def _named(encoder: str) -> str:
    offered = folders.meaning_encoders()
    if encoder not in offered:
        raise InputError(
            f"there is no encoder {encoder!r} in models/{folders.MEANINGS}; choose {BUILT_IN!r} or put one there."
        )
    return offered[encoder]


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
