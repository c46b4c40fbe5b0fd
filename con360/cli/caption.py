"""`con360 caption`: describe a 360° file in words. `con360 generate --captioner` shares the caption models' options."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..caption.by_models import CaptionModels, Network, caption_scene
from ..caption.prompts import CaptionPrompts
from ..devices import resolve_device
from ..errors import InputError
from ..timing import ClipSpec
from .option_groups import CaptioningOptions
from .report import Report, stage_table, table
from .requests import CaptionRequest

if TYPE_CHECKING:
    from ..caption.budget import TokenBudget
    from ..records import PanoramaClip, SceneCaption


def captioning(options: CaptioningOptions) -> CaptionModels | None:
    """The caption models that the options name; None where no captioner is named.

    Raises:
        InputError: options that exclude each other, a folder that is no such model, or a prompt that cannot be used.
    """
    if options.captioner is None:
        if options.caption_llm is not None:
            raise InputError("--caption-llm merges what a captioner says; give --captioner FOLDER as well.")
        return None
    given = {"face": options.face_prompt, "merge": options.merge_prompt, "short": options.short_prompt}
    prompts = CaptionPrompts(**{name: _prompt(name, text) for name, text in given.items() if text is not None})
    writer = None if options.caption_llm is None else Path(options.caption_llm).expanduser()
    captioner = Path(options.captioner).expanduser()
    models = CaptionModels(captioner, writer, options.caption_times, options.caption_batch, prompts)
    models.check()
    return models


def _prompt(name: str, text: str) -> str:
    """Return a prompt as typed, or the text of the file after an @."""
    if not text.startswith("@"):
        return text
    from ..media.files import existing_file

    try:
        return existing_file(text[1:]).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"--{name}-prompt: {text[1:]} is no UTF-8 text; save it as plain text.") from error


def write_caption(
    models: CaptionModels, clip: PanoramaClip, budget: TokenBudget | None, device: str, report: Report
) -> SceneCaption:  # fmt: skip
    """Have a clip captioned, and say the caption's notices."""
    from ..models.precision import working_dtype

    dtype = working_dtype("auto", device)

    def visit(load: Callable[..., Network], folder: Path) -> AbstractContextManager[Network]:
        return nullcontext(load(folder, device=device, dtype=dtype))

    with report.stage("caption") as progress:
        caption = caption_scene(clip, models, visit, budget=budget, progress=progress)
    report.notice(*caption.notices)
    return caption


def face_facts(caption: SceneCaption) -> list[dict[str, Any]]:
    """The faces' captions for JSON."""
    return [asdict(face) for face in caption.faces]


def run_caption(options: CaptionRequest, started: float) -> None:
    """Check every option, then decode and caption."""
    from ..media.files import existing_file

    existing_file(options.input)
    spec = ClipSpec(options.duration)
    asked = captioning(options)
    assert asked is not None  # --captioner is required here
    device = resolve_device(options.device)
    budget = _budget(options)
    from ..media.reader import read_panorama

    report = Report(started, device)
    with report.stage("reading") as progress:
        clip = read_panorama(
            options.input, start_s=options.start, duration_s=spec.seconds, fps=spec.fps, eye=options.eye,
            reading=options.reading, progress=progress,
        )  # fmt: skip
    report.notice(*clip.notices)
    caption = write_caption(asked, clip, budget, device, report)
    if options.json:
        print(json.dumps(_facts(options, asked, caption, report), ensure_ascii=False))
        return
    by = asked.writer.name if asked.writer and caption.origin == "models" else "rule"
    print(f"short caption:\n{caption.short}\n\nlong caption:\n{caption.long}\n\nmerged by {by}\n")
    rows = [("time", "direction", "caption"), *((f"{f.time_s:.1f} s", f.direction, f.text) for f in caption.faces)]
    print(f"{table(rows)}\n\n{stage_table(report)}")


def _budget(options: CaptionRequest) -> TokenBudget | None:
    if options.model is None:
        return None
    from ..caption.budget import TokenBudget
    from ..weights.find import model_folder

    return TokenBudget.of_files(model_folder(options.model))


def _facts(options: CaptionRequest, asked: CaptionModels, caption: SceneCaption, report: Report) -> dict[str, Any]:
    return {
        "con360": __version__,
        "input": options.input,
        "start_s": options.start,
        "short": caption.short,
        "long": caption.long,
        "origin": caption.origin,
        "faces": face_facts(caption),
        "captioner": str(asked.captioner),
        "language_model": asked.writer and str(asked.writer),
        "prompts": asdict(asked.prompts),
        "device": report.device,
        "stages_s": {name: round(seconds, 3) for name, seconds in report.seconds.items()},
        "total_s": round(report.total_seconds, 3),
        "warnings": report.notices,
    }
