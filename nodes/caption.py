"""Describe the scene in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.caption import prompts
from ..con360.caption.by_models import CaptionModels
from ..con360.records import PanoramaClip, SceneCaption
from . import sockets
from .host import files, folders, runtime
from .host.words import Words

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .loaders import ManagedModel

NO_CAPTIONER = "none"
BY_RULE = "none (joined by rule)"


def _prompt_inputs() -> list[io.Input]:
    return [
        runtime.advanced(io.String.Input(
            "face_prompt", default=prompts.FACE_PROMPT, multiline=True, optional=True,
            tooltip="The captioner continues it for each face; {direction} becomes 'in front', 'behind', ...",
        )),
        runtime.advanced(io.String.Input(
            "merge_prompt", default=prompts.MERGE_PROMPT, multiline=True, optional=True,
            tooltip="Asks the language model for the long caption; {captions} becomes the faces' captions.",
        )),
        runtime.advanced(io.String.Input(
            "short_prompt", default=prompts.SHORT_PROMPT, multiline=True, optional=True,
            tooltip="Asks the language model for the short caption; {description} becomes the long one.",
        )),
    ]  # fmt: skip


class CubemapCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CubemapCaption",
            display_name="Cubemap Caption",
            category=runtime.CATEGORY,
            **runtime.search_words("CubemapCaption", "describe", "prompt", "cube faces"),
            description="Describes the scene in words: by your text, else by a captioner on the six cube faces, else "
            "by the sample's own caption, else by a plain statement of what is known.",
            inputs=[
                io.Image.Input("frames", tooltip="The panorama; another ratio than 2:1 is stretched."),
                io.String.Input(
                    "text", default="", multiline=True,
                    tooltip="What is seen and heard. Empty: the captioner, the scene caption, or a plain statement.",
                ),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames."),
                io.Audio.Input("audio", optional=True, tooltip="The panorama's sound, for the plain statement."),
                io.String.Input(
                    "scene_caption", optional=True, force_input=True,
                    tooltip="Caption output of Load 360° Video; used where there is neither text nor captioner.",
                ),
                io.Combo.Input(
                    "captioner", options=[NO_CAPTIONER, *folders.model_entries(folders.CAPTIONERS)], optional=True,
                    default=NO_CAPTIONER, tooltip="BLIP-2 or BLIP, a folder in models/con360_captioner.",
                ),
                io.Combo.Input(
                    "language_model", options=_language_models(), optional=True, default=BY_RULE,
                    tooltip="Merges the faces' captions: Llama 3.2 or another small instruct model, a folder in "
                    "models/con360_llm. Without one they are joined by rule.",
                ),
                io.Int.Input("times", default=prompts.DEFAULT_TIMES, min=1, max=32, step=1, optional=True,
                             tooltip="Number of moments of the clip at which the faces are captioned."),
                runtime.advanced(io.Int.Input(
                    "batch_size", default=prompts.DEFAULT_BATCH, min=1, max=192, step=1, optional=True,
                    tooltip="Faces captioned at once; fewer need less memory.",
                )),
                *_prompt_inputs(),
                sockets.Con360Model.Input(
                    "model", optional=True,
                    tooltip="Its tokenizers measure how long the short caption may be; without it CLIP is assumed.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="short", tooltip="For the model's text encoders; empty for a plain statement."
                ),
                io.String.Output(display_name="long", tooltip="For people."),
                io.String.Output(display_name="faces", tooltip="Time, direction and caption of each face, by line."),
                io.String.Output(display_name="notices", tooltip="What was cut or missing."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, captioner: str | None = None) -> bool | str:
        return runtime.verdict(captioner=lambda: _folder(captioner, NO_CAPTIONER))

    @classmethod
    def fingerprint_inputs(
        cls, captioner: str | None = None, language_model: str | None = None, **kwargs: Any
    ) -> str:  # fmt: skip
        folders = (_folder(captioner, NO_CAPTIONER), _folder(language_model, BY_RULE))
        return files.identity(path for folder in folders if folder for path in folder.rglob("*") if path.is_file())

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, text: str, fps: float, audio: dict[str, Any] | None = None, scene_caption: str = "",
        captioner: str = NO_CAPTIONER, language_model: str = BY_RULE, times: int = prompts.DEFAULT_TIMES,
        batch_size: int = prompts.DEFAULT_BATCH, face_prompt: str = prompts.FACE_PROMPT,
        merge_prompt: str = prompts.MERGE_PROMPT, short_prompt: str = prompts.SHORT_PROMPT,
        model: ManagedModel | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.caption import plain_caption, typed_caption

        runtime.check_interrupt()
        asked = prompts.CaptionPrompts(face_prompt.strip(), merge_prompt, short_prompt)
        folders = (_folder(captioner, NO_CAPTIONER), _folder(language_model, BY_RULE))
        if text.strip():
            caption = typed_caption(text)
        elif folders[0] is not None:
            clip = PanoramaClip(sockets.panorama_from_image(frames), fps)
            models = CaptionModels(folders[0], folders[1], times, batch_size, asked)
            caption = _by_models(clip, models, model)
        elif scene_caption.strip():
            caption = typed_caption(scene_caption)
        else:
            sound = None if audio is None else sockets.sound_from_audio(audio)
            caption = plain_caption(PanoramaClip(sockets.frames_from_image(frames), fps, sound))
        notices = (*_unused(*folders), *caption.notices)
        runtime.tell(notices)
        faces = "\n".join(str(face) for face in caption.faces)
        return io.NodeOutput(caption.short, caption.long, faces, "\n".join(notices))


def _unused(captioner: Path | None, language_model: Path | None) -> tuple[str, ...]:
    if captioner is not None or language_model is None:
        return ()
    return ("the language model is not used: it merges a captioner's words, and no captioner is chosen",)


def _by_models(clip: PanoramaClip, models: CaptionModels, model: ManagedModel | None) -> SceneCaption:
    """Caption with one network at a time: free the captioner before the language model is read."""
    from ..con360.caption.budget import TokenBudget
    from ..con360.caption.by_models import caption_scene

    models.check()
    budget = None if model is None else TokenBudget.of_model(model.model)
    return caption_scene(clip, models, _visit, budget=budget, progress=runtime.progress())


@contextmanager
def _visit(load: Callable[..., Any], folder: Path) -> Iterator[Any]:
    """Bring a network onto the device, under ComfyUI's memory management while the block runs."""
    network = load(folder, dtype=runtime.comfyui_dtype("auto"))
    patcher = runtime.manage({"network": network.model})
    runtime.bring_in(patcher)
    yield network


def _language_models() -> Words:
    return Words([BY_RULE, *folders.model_entries(folders.LANGUAGE_MODELS)], lambda choice: _folder(choice, BY_RULE))


def _folder(choice: str | None, nothing: str) -> Path | None:
    """Find the folder of a choice; None for "no model", and for a link without a value yet."""
    if choice in (None, nothing):
        return None
    name, part = (
        (folders.CAPTIONERS, "captioner") if nothing == NO_CAPTIONER else (folders.LANGUAGE_MODELS, "language model")
    )
    entries = folders.model_entries(name)
    runtime.check_weights(choice, [nothing, *entries], f"the {part}", part)
    return entries[choice]
