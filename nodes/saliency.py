"""Predict saliency maps from the frames of a panorama."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360 import choices
from ..con360.records import PanoramaClip
from . import sockets
from .host import files, folders, runtime
from .host.words import Words

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..con360.saliency.human_faces import FaceDetector
    from .loaders import ManagedControl

MULTICUE, TRAINING_FREE = "multi-cue (built in)", "training-free (built in)"
# What the library calls them.
BUILT_IN = {MULTICUE: choices.MULTICUE, TRAINING_FREE: choices.TRAINING_FREE}
FIRST_FACES, NO_FACES = "auto", "none"


class SalViT360Saliency(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SalViT360Saliency",
            display_name="SalViT360 Saliency",
            category=runtime.CATEGORY,
            **runtime.search_words("SalViT360Saliency", "attention", "gaze", "heatmap"),
            description="Predicts where people look: one saliency map over the panorama per frame, maximum 1.",
            inputs=[
                io.Image.Input("frames", tooltip="Equirectangular frames; another ratio than 2:1 is stretched."),
                io.Combo.Input(
                    "method", options=[*BUILT_IN, *method_entries()],
                    tooltip="multi-cue looks at structure, motion, faces and sound, training-free at contrast and "
                    "motion; neither needs weights. Or SalViT360 weights from models/con360_saliency.",
                ),
                io.Audio.Input(
                    "audio", optional=True,
                    tooltip="The panorama's sound: Ambisonics (four channels) says where to look. For multi-cue.",
                ),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, optional=True,
                    tooltip="Frame rate of the frames; multi-cue needs it for motion and sound.",
                ),
                io.Combo.Input(
                    "faces", options=Words([FIRST_FACES, NO_FACES, *folders.model_entries(folders.FACES)], face_file),
                    default=FIRST_FACES, optional=True,
                    tooltip="Face detector for multi-cue: CenterFace as ONNX, a file in models/con360_faces. 'auto' is "
                    "the first one there, or none.",
                ),
                sockets.Con360Control.Input(
                    "control", optional=True,
                    tooltip="The sampler's control: for_control then uses the method that this control was trained "
                    "with.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="saliency", tooltip="For viewpoints and overlays."),
                io.Mask.Output(
                    display_name="for_control",
                    tooltip="For the Joint AV Sampler: maps by the method that the control was trained with; without "
                    "a control the same as saliency.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, method: str | None) -> bool | str:
        # A widget that is linked has no value yet.
        return runtime.verdict(method=lambda: method is None or method_of(method))

    @classmethod
    def fingerprint_inputs(cls, method: str | None, faces: str | None = FIRST_FACES, **kwargs: Any) -> str:
        weights = None if method is None or method in BUILT_IN else method_of(method)
        detector = None if faces is None else face_file(faces)
        return files.identity(filter(None, (weights, detector)))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, method: str, audio: dict[str, Any] | None = None, fps: float = 8.0,
        faces: str = FIRST_FACES, control: ManagedControl | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.pipeline import control_saliency
        from ..con360.saliency.predict import clip_saliency

        report = runtime.progress()
        report(0, 1, "saliency")
        sound = None if audio is None else sockets.sound_from_audio(audio)
        clip = PanoramaClip(sockets.panorama_from_image(frames), fps, sound)
        _say_what_is_unread(clip, method, faces)
        detector = face_detector(faces) if method == MULTICUE else None
        with runtime.gives_way():
            found = clip_saliency(clip, method_of(method), detector=detector, device=runtime.device(), progress=report)
            read, notices = control_saliency(
                clip, control and control.control, found, device=runtime.device(), progress=report
            )
        for notice in notices:
            runtime.log.warning(notice)
        return io.NodeOutput(sockets.mask_from_maps(found.maps), sockets.mask_from_maps(read.maps))


def method_entries() -> dict[str, Path]:
    """SalViT360's weights in the model folders, by the name that is shown."""
    return folders.model_entries(folders.SALIENCY)


def method_of(choice: str) -> Any:
    """Translate the choice for the library: a name, or the path of the weights."""
    entries = method_entries()
    runtime.check_weights(choice, [*BUILT_IN, *entries], "the saliency method", "salvit360")
    return entries.get(choice) or BUILT_IN[choice]


def face_file(choice: str) -> Path | None:
    """Find the detector's file of a choice; None for no faces, and for 'auto' where there is no file."""
    entries = folders.model_entries(folders.FACES)
    runtime.check_weights(choice, [FIRST_FACES, NO_FACES, *entries], "the face detector", "faces")
    return next(iter(entries.values()), None) if choice == FIRST_FACES else entries.get(choice)


def face_detector(choice: str) -> FaceDetector | None:
    """Load the detector of a choice."""
    from ..con360.saliency.human_faces import FaceDetector

    path = face_file(choice)
    return None if path is None else FaceDetector(path)


def _say_what_is_unread(clip: PanoramaClip, method: str, faces: str) -> None:
    """Log inputs that were given and have no effect."""
    if method != MULTICUE and faces not in (FIRST_FACES, NO_FACES):
        runtime.log.warning("faces %s: saliency by %s does not look for faces", faces, method)
    if method == MULTICUE and clip.sound is not None and clip.sound.layout != "ambix":
        runtime.log.info("the sound has no directions, so it does not say where to look")
