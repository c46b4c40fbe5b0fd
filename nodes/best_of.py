"""Make further seeds of a clip and keep the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import previews, sockets
from .guide import encoder_of
from .host import runtime
from .sampler import previews as step_previews

if TYPE_CHECKING:
    from ..con360.anew.best import Candidate
    from ..con360.protocols import MeaningEncoder
    from ..con360.records import ViewpointClip
    from .loaders import ManagedControl, ManagedModel

# The most that are of use: each costs a generation.
MOST = 64


class Con360BestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360BestOf",
            display_name="Best of Seeds",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360BestOf", "rank", "best of N", "compare seeds", "choose"),
            is_output_node=True,
            description="Makes a clip again with further seeds, shows all side by side, and keeps the one whose "
            "caption, picture and sound agree best.",
            inputs=[
                sockets.Con360Model.Input("model", tooltip="The model that made the clip."),
                sockets.Con360Latents.Input("latents", tooltip="The first clip: latents of Joint AV Sampler."),
                io.Int.Input("count", default=4, min=2, max=MOST,
                             tooltip="How many clips in all; the seeds follow the first clip's own."),
                sockets.Con360Control.Input("control", optional=True, tooltip="The control that steered the clip."),
                sockets.Con360Meaning.Input(
                    "judge", optional=True,
                    tooltip="The encoder that ranks; without it the model's own. One that guides may not judge."),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
                io.String.Output(display_name="ranking", tooltip="Figures of all clips, the best first."),
                sockets.Con360Latents.Output(display_name="latents", tooltip="The best clip."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, model: ManagedModel, latents: sockets.LatentsRecord, count: int, control: ManagedControl | None = None,
        judge: MeaningEncoder | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.anew.best import best_of, seeds_from
        from ..con360.meaning.guiding import check_judge

        first = latents.of_model(model.model.name)
        if judge is not None:
            check_judge(first.guide, judge)
        seeds = seeds_from(first.settings.seed, count)
        if first.settings.memory == "low":
            runtime.make_room()
        patchers = [] if first.settings.memory == "low" else [model.patcher]
        runtime.bring_in(*patchers, *([control.patcher] if control else []))
        shown: dict[int, dict[str, Any]] = {}

        def told(one: Candidate, clip: ViewpointClip) -> None:
            shown[one.seed] = previews.clip_preview(clip.frames, clip.fps, replace(first, clip=clip).heard())

        with runtime.gives_way(), runtime.outside_inference():
            making, ranks_by = _making(model, control, first), encoder_of(judge, model.model)
            best = best_of(making, seeds, ranks_by, first.conditions.caption.short, told=told)
        made = replace(first, clip=best.clip, settings=replace(first.settings, seed=best.ranked[0].seed))
        lines = [text_of(one) for one in best.ranked]
        rows = [{"clip": shown[one.seed], "text": line} for one, line in zip(best.ranked, lines, strict=True)]
        image, sound, video, _ = made.shown()
        return io.NodeOutput(image, sound, video, "\n".join(lines), made, ui={"con360": [{"candidates": rows}]})


def _making(
    model: ManagedModel, control: ManagedControl | None, first: sockets.LatentsRecord
) -> Callable[[int], ViewpointClip]:
    """Make the clip of a seed; the first one is there already.

    Raises:
        InputError: the first clip was started from something that it does not remember.
    """
    from ..con360.pipeline import generate
    from ..con360.records import StartClip

    settings = first.settings
    if settings.denoise_video < 1 or settings.denoise_audio < 1:
        raise InputError(
            "the clip was started from another one, which its latents do not hold; connect one from noise."
        )
    start = StartClip(first.clip.frames, first.clip.sound, first.clip.latents) if settings.hold else None
    report = runtime.progress()

    def make(seed: int) -> ViewpointClip:
        if seed == settings.seed:
            return first.clip
        return generate(
            model.model, control and control.control, first.conditions, replace(settings, seed=seed),
            seconds=first.clip.sound.duration_s, strengths=first.strengths, when=first.when, meaning=first.guide,
            start=start, device=runtime.device(), progress=report, on_step=step_previews(model.model, report),
        )  # fmt: skip

    return make


def text_of(one: Candidate) -> str:
    """Say a candidate's figures in a line."""
    if one.said or one.ta is None or one.tv is None:
        return f"seed {one.seed}: {one.said}"
    span = "" if one.volume is None else f", V {one.volume:.3f}"
    return f"seed {one.seed}{span}, text-sound {one.ta:.2f}, text-picture {one.tv:.2f}" + (
        "" if one.va is None else f", picture-sound {one.va:.2f}"
    )
