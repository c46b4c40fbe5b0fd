"""Make a span of a generated clip anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..con360.choices import REDO_PARTS, RedoPart
from . import sockets
from .conditions import caption_of
from .host import runtime
from .sampler import MAX_SEED, previews

if TYPE_CHECKING:
    from ..con360.records import TimeTrack
    from .loaders import ManagedControl, ManagedModel


class Con360RedoSpan(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360RedoSpan",
            display_name="Redo Span",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360RedoSpan", "inpaint in time", "regenerate", "retake"),
            description="Makes a span of a generated clip anew, picture, sound or both. The rest stays bit for bit.",
            inputs=[
                sockets.Con360Model.Input("model", tooltip="The model that made the clip."),
                sockets.Con360Latents.Input("latents", tooltip="The clip: latents of Joint AV Sampler."),
                io.Float.Input("start", default=1.5, min=0.0, max=60.0, step=0.05,
                               tooltip="Where the span begins, in seconds of the clip."),
                io.Float.Input("end", default=2.5, min=0.0, max=60.0, step=0.05,
                               tooltip="Where it ends; at least 0.25 s later."),
                io.Int.Input(
                    "seed", default=1, min=0, max=MAX_SEED, control_after_generate=True,
                    tooltip="Another seed than the clip's gives another span.",
                ),
                io.Combo.Input("what", options=list(REDO_PARTS), default=REDO_PARTS[0],
                               tooltip="What to make anew; the other one is held."),
                io.String.Input("caption", default="", multiline=True, optional=True,
                                tooltip="Another caption for the span; empty keeps the clip's."),
                sockets.Con360Control.Input("control", optional=True, tooltip="The control that steered the clip."),
                sockets.Con360TimeTrack.Input("when", optional=True, tooltip="A time track for the span's sound, in "
                                              "seconds of the clip; without it the clip's own."),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
                io.String.Output(display_name="notices", tooltip="Remarks of the clip and of the span."),
                sockets.Con360Latents.Output(display_name="latents", tooltip="The clip with its new span."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, model: ManagedModel, latents: sockets.LatentsRecord, start: float, end: float, seed: int, what: RedoPart,
        caption: str = "", control: ManagedControl | None = None, when: TimeTrack | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.anew.redo import redo

        runtime.check_choice(what, REDO_PARTS, "what")
        first = latents.of_model(model.model.name)
        conditions, settings = first.conditions, replace(first.settings, seed=seed)
        if caption.strip():
            conditions = replace(conditions, caption=caption_of(caption))
        if when is not None:
            conditions = replace(conditions, when=when)
        if settings.memory == "low":
            runtime.make_room()
        patchers = [] if settings.memory == "low" else [model.patcher]
        runtime.bring_in(*patchers, *([control.patcher] if control else []))
        report = runtime.progress()
        with runtime.gives_way(), runtime.outside_inference():
            clip = redo(
                model.model, control and control.control, conditions, first.clip, (start, end), settings, what=what,
                strengths=first.strengths, when=first.when, meaning=first.guide, device=runtime.device(),
                progress=report, on_step=previews(model.model, report),
            )  # fmt: skip
        made = replace(first, clip=clip, held=first.held if what == "sound" else None)
        image, sound, video, odd = made.shown()
        return io.NodeOutput(image, sound, video, "\n".join((*clip.notices, *odd)), made)
