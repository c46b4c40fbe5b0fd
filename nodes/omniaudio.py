"""Make Ambisonics for a 360° video, by the small model of the pack or by OmniAudio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from comfy_api.v0_0_2 import io

from ..con360.choices import BUILT_IN_AMBISONICS, LOOKS_TO, LooksTo
from ..con360.errors import InputError
from . import panorama_source, sockets
from .host import files, folders, runtime
from .loaders import PRECISIONS, precision_input
from .saliency import FIRST_FACES, face_detector, face_file
from .sampler import MAX_SEED

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    from ..con360.media.reader import PanoramaStream
    from ..con360.sounding.making import Maker
    from ..con360.sounding.model import AmbisonicsModel
    from ..con360.sounding.settings import AmbisonicsSettings

SMALL, AUTO = f"{BUILT_IN_AMBISONICS} (built in)", "auto"
SALIENT: LooksTo = LOOKS_TO[1]
MOST_GUIDANCE = 30.0


@final
@dataclass(frozen=True)
class ManagedAmbisonics:
    """Value of a CON360_OMNIAUDIO link."""

    model: AmbisonicsModel
    patcher: ModelPatcher


class Con360OmniAudioLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360OmniAudioLoader",
            display_name="OmniAudio Loader",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360OmniAudioLoader", "checkpoint", "weights", *runtime.SOUND_WORDS),
            description="Loads a model that makes Ambisonics for a 360° video: the small one of the pack, or "
            "OmniAudio.",
            inputs=[
                io.Combo.Input(
                    "model", options=[SMALL, *folders.model_entries(folders.OMNIAUDIO)],
                    tooltip="The small model that comes with the pack, or OmniAudio: its model.ckpt, or a safetensors "
                    "made of it, in models/con360_omniaudio.",
                ),
                io.Combo.Input(
                    "pictures", options=[AUTO, *folders.picture_encoders()], default=AUTO,
                    tooltip="OmniAudio's picture encoder, MetaCLIP ViT-H/14 (CC BY-NC 4.0: not for commercial use), a "
                    "folder in models/con360_omniaudio or clip_vision. 'auto' is the first one there; the small model "
                    "has its own.",
                ),
                precision_input(),
            ],
            outputs=[sockets.Con360Omniaudio.Output(display_name="model")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None = None, pictures: str | None = None) -> bool | str:
        return runtime.verdict(model=lambda: _model_file(model), pictures=lambda: _picture_folder(model, pictures))

    @classmethod
    def fingerprint_inputs(cls, model: str | None, pictures: str | None = None, **kwargs: Any) -> str:
        sources = [path for path in (_model_file(model), _picture_folder(model, pictures)) if path is not None]
        return files.identity(p for path in sources for p in (path, *path.rglob("*")) if p.is_file())

    @classmethod
    @runtime.needs_packages
    def execute(cls, model: str, pictures: str, precision: str) -> io.NodeOutput:
        runtime.check_choice(precision, PRECISIONS, "the precision")
        report = runtime.progress()
        report(0, 1, "loading the model")
        loaded = _loaded(_model_file(model), _picture_folder(model, pictures), precision)
        report(1, 1, "loading the model")
        return io.NodeOutput(loaded)


class Con360VideoToAmbisonics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360VideoToAmbisonics",
            display_name="360° Video→Ambisonics",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360VideoToAmbisonics", "video to sound", "OmniAudio", "generate sound",
                                   *runtime.SOUND_WORDS),
            description="Makes sound that lies around the listener, for a silent 360° video: the model looks at the "
            "whole panorama and at one view of it.",
            inputs=[
                io.MultiType.Input(
                    "video", [io.Image, io.Video],
                    tooltip="The 360° clip: equirectangular frames, or a VIDEO, which is read from its file a few "
                    "pictures at a time. Its own sound is not heard.",
                ),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0,
                               tooltip="Frame rate of frames; a VIDEO has its own."),
                io.Int.Input(
                    "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True,
                    tooltip="The same seed and settings give the same sound.",
                ),
                io.Int.Input("steps", default=0, min=0, max=200,
                             tooltip="Sampling steps; 0 takes the model's own, 24 of OmniAudio."),
                io.Float.Input("cfg", default=0.0, min=0.0, max=MOST_GUIDANCE, step=0.1,
                               tooltip="Guidance, which strengthens what the view shows: 1 is off, 0 takes the "
                               "model's own, 3 of OmniAudio."),
                io.Combo.Input("view", options=list(LOOKS_TO),
                               tooltip="Where the model's view looks: to the front, as published, or to the most "
                               "salient subject."),
                sockets.Con360Omniaudio.Input("model", optional=True,
                                              tooltip="OmniAudio Loader; without it, the small model of the pack."),
                io.Float.Input("gain", default=0.0, min=-60.0, max=24.0, step=0.5, optional=True,
                               tooltip="Decibels, on top of the model's own level."),
                runtime.advanced(io.Boolean.Input("limiter", default=True, optional=True,
                                                  tooltip="Keep peaks below -1 dB of full scale.")),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="Ambisonics of four channels: for Ambisonics Preview, "
                                "Save 360° Video and Ambisonics→Headphones; core's audio nodes write one or two "
                                "channels."),
                io.String.Output(display_name="notices", tooltip="What the model knows, and what was done."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, cfg: float | None = None) -> bool | str:
        return runtime.verdict(cfg=lambda: _check_guidance(cfg))

    @classmethod
    def fingerprint_inputs(cls, view: str | None = None, **kwargs: Any) -> str:
        return files.identity(filter(None, [face_file(FIRST_FACES) if view == SALIENT else None]))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, video: Any, fps: float, seed: int, steps: int, cfg: float, view: LooksTo,
        model: ManagedAmbisonics | None = None, gain: float = 0.0, limiter: bool = True,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.sounding.settings import AmbisonicsSettings

        _check_guidance(cfg)
        runtime.check_choice(view, LOOKS_TO, "the view")
        used = model or _loaded(None, None, AUTO)
        settings = AmbisonicsSettings(
            steps=steps or None, cfg=cfg or None, seed=seed, view=view, gain_db=gain, limiter=limiter
        )
        maker, key, part = _maker(video, fps, used.model, settings)
        runtime.bring_in(used.patcher)
        with runtime.gives_way(), runtime.cancels_inside(used.patcher.model):
            sound = maker.sound(key, *part)
        notices = (f"{used.model.name}: {used.model.knows}", *filter(None, maker.said()), *sockets.peak_notices(sound))
        return io.NodeOutput(sockets.audio_from_sound(sound), "\n".join(notices))


def _loaded(file: Path | None, pictures: Path | None, precision: str) -> ManagedAmbisonics:
    """Load a model under ComfyUI's memory management; None is the small one."""
    from ..con360.sounding.model import load_ambisonics_model

    with runtime.outside_inference():
        model = load_ambisonics_model(file, pictures, device="cpu", dtype=runtime.comfyui_dtype(precision))
    return ManagedAmbisonics(model, runtime.manage(_networks(model)))


def _networks(model: AmbisonicsModel) -> dict[str, nn.Module]:
    network, encoder = model.network, model.encoder
    return {
        "transformer": network.transformer, "embedders": network.embedders, "vae": network.vae,
        "pictures": getattr(encoder, "network", encoder),
    }  # fmt: skip


def _model_file(choice: str | None) -> Path | None:
    """Find the file of a model, or the folder of a small one; None for the built-in one, and for a linked widget."""
    if choice is None:
        return None
    entries = folders.model_entries(folders.OMNIAUDIO)
    runtime.check_weights(choice, [SMALL, *entries], "the model", "omniaudio")
    return entries.get(choice)


def _picture_folder(model: str | None, choice: str | None) -> Path | None:
    """Find the folder of a model's picture encoder; None for small models, which have their own, and linked widgets.

    Raises:
        InputError: there is none, or one was chosen for a small model.
    """
    if model is None or choice is None:
        return None
    entries = folders.picture_encoders()
    runtime.check_weights(choice, [AUTO, *entries], "the picture encoder", "picture encoder")
    if model == SMALL or folders.model_entries(folders.OMNIAUDIO).get(model, Path()).is_dir():
        if choice != AUTO:
            raise InputError(f"{model} has a picture encoder of its own, and {choice} was chosen; choose '{AUTO}'.")
        return None
    if not entries:
        from ..con360.weights.catalog import advice

        raise InputError(f"{model} needs a picture encoder, and there is none. {advice('picture encoder')}")
    return entries.get(choice) or next(iter(entries.values()))


def _check_guidance(cfg: float | None) -> None:
    """Refuse what is neither guidance nor the model's own; None, a linked widget, has no value yet."""
    if cfg is not None and cfg != 0 and not 1 <= cfg <= MOST_GUIDANCE:
        raise InputError(
            f"a guidance of {cfg:g} was asked for; choose 1 to {MOST_GUIDANCE:g}, or 0 for the model's own."
        )


def _maker(
    video: Any, fps: float, model: AmbisonicsModel, settings: AmbisonicsSettings
) -> tuple[Maker, str, tuple[float, float]]:  # fmt: skip
    """Prepare to make the sound of an IMAGE or a VIDEO; also give the key of its content, and the part of it."""
    from ..con360.sounding.making import Maker
    from ..con360.sounding.run import is_surely_360

    stream, key, part = _panorama(video, fps)
    if not is_surely_360(stream.info):
        size = f"{stream.info.width}x{stream.info.height}"
        stream.notices.append(
            f"pictures of {size} are taken for a whole panorama, which is 2:1: the directions may be wrong"
        )
    detector = face_detector(FIRST_FACES) if settings.view == SALIENT else None
    return Maker(stream, model, settings, detector, runtime.progress()), key, part


def _panorama(video: Any, fps: float) -> tuple[PanoramaStream, str, tuple[float, float]]:
    """Open what is linked: the pictures, a key of their content, and the part of them in seconds."""
    from ..con360.media.info import probe
    from ..con360.media.reader import PanoramaStream
    from ..con360.records import PanoramaClip
    from ..con360.reframing.in_memory import HeldPanorama
    from ..con360.sounding.run import frames_key
    from ..con360.sounding.store import file_key

    is_clip = hasattr(video, "get_components")
    path = panorama_source.file_of_clip(video) if is_clip else None
    if path is not None:
        start, length = panorama_source.trimmed(video, 0.0, None)
        return PanoramaStream(probe(path)), file_key(path), (start, math.inf if length is None else start + length)
    if is_clip:
        parts = video.get_components()
        video, fps = parts.images, float(parts.frame_rate)
    frames = sockets.frames_view(video)
    held = HeldPanorama(PanoramaClip(frames, fps, source="the frames"))
    return held, frames_key(frames.movedim(1, -1), fps), (0.0, math.inf)
