"""`con360 caption`: a 360° file in, words for its scene out; and what `con360 generate --captioner` shares with it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..caption.prompts import CaptionPrompts
from ..devices import resolve_device
from ..errors import InputError
from ..timing import ClipSpec
from .report import Report, stage_table, table

if TYPE_CHECKING:
    from ..caption.budget import TokenBudget
    from ..caption.faces import FaceCaptions
    from ..records import PanoramaClip, SceneCaption


@dataclass(frozen=True)
class Captioning:
    """What the caption options ask for, checked before anything long starts; `writer` None joins by rule."""

    captioner: Path
    writer: Path | None
    times: int
    batch_size: int
    prompts: CaptionPrompts


def captioning(options: argparse.Namespace) -> Captioning | None:
    """The caption options; None where no captioner is named.

    Raises:
        InputError: options that exclude each other, a folder that is no such model, or a prompt that cannot be used.
    """
    if options.captioner is None:
        if options.caption_llm is not None:
            raise InputError("--caption-llm merges what a captioner says; give --captioner FOLDER as well.")
        return None
    from ..caption.captioner import check_captioner
    from ..caption.faces import check_numbers
    from ..caption.writer import check_writer

    check_numbers(options.caption_times, options.caption_batch)
    given = {name: getattr(options, f"{name}_prompt") for name in ("face", "merge", "short")}
    prompts = CaptionPrompts(**{name: _prompt(name, text) for name, text in given.items() if text is not None})
    check_captioner(options.captioner)
    if options.caption_llm is not None:
        check_writer(options.caption_llm)
    writer = None if options.caption_llm is None else Path(options.caption_llm).expanduser()
    captioner = Path(options.captioner).expanduser()
    return Captioning(captioner, writer, options.caption_times, options.caption_batch, prompts)


def _prompt(name: str, text: str) -> str:
    """A prompt as typed, or the text of the file after an @."""
    if not text.startswith("@"):
        return text
    from ..media.files import existing_file

    try:
        return existing_file(text[1:]).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"--{name}-prompt: {text[1:]} is no UTF-8 text; save it as plain text.") from error


def describe_faces(asked: Captioning, clip: PanoramaClip, device: str, report: Report) -> FaceCaptions:
    """Caption the faces; the captioner is let go before anything else is loaded."""
    from ..caption.captioner import load_captioner
    from ..caption.faces import caption_faces

    with report.stage("loading the captioner", steps=False):
        captioner = load_captioner(asked.captioner, device=device, dtype=_dtype(device))
    with report.stage("face captions") as progress:
        return caption_faces(
            captioner, clip, times=asked.times, batch_size=asked.batch_size, prompt=asked.prompts.face,
            progress=progress,
        )  # fmt: skip


def merge_faces(
    asked: Captioning, faces: FaceCaptions, budget: TokenBudget | None, device: str, report: Report
) -> SceneCaption:
    """One caption from those of the faces, with its notices said."""
    from ..caption.merge import merge_captions
    from ..caption.writer import load_writer

    writer = None
    if asked.writer is not None:
        with report.stage("loading the language model", steps=False):
            writer = load_writer(asked.writer, device=device, dtype=_dtype(device))
    with report.stage("caption", steps=writer is not None) as progress:
        caption = merge_captions(faces, writer, prompts=asked.prompts, budget=budget, progress=progress)
    report.notice(*caption.notices)
    return caption


def _dtype(device: str) -> Any:
    from ..models.precision import working_dtype

    return working_dtype("auto", device)


def face_facts(caption: SceneCaption) -> list[dict[str, Any]]:
    """The faces' captions for JSON."""
    return [asdict(face) for face in caption.faces]


def run_caption(options: argparse.Namespace, started: float) -> None:
    """Everything that is wrong with the options is said before anything is decoded."""
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
            progress=progress,
        )  # fmt: skip
    report.notice(*clip.notices)
    faces = describe_faces(asked, clip, device, report)
    caption = merge_faces(asked, faces, budget, device, report)
    if options.json:
        print(json.dumps(_facts(options, asked, caption, report), ensure_ascii=False))
        return
    by = asked.writer.name if asked.writer and caption.origin == "models" else "rule"
    print(f"short caption:\n{caption.short}\n\nlong caption:\n{caption.long}\n\nmerged by {by}\n")
    rows = [("time", "direction", "caption"), *((f"{f.time_s:.1f} s", f.direction, f.text) for f in caption.faces)]
    print(f"{table(rows)}\n\n{stage_table(report)}")


def _budget(options: argparse.Namespace) -> TokenBudget | None:
    if options.model is None:
        return None
    from ..caption.budget import TokenBudget
    from ..weights.find import model_folder

    return TokenBudget.of_files(model_folder(options.model))


def _facts(options: argparse.Namespace, asked: Captioning, caption: SceneCaption, report: Report) -> dict[str, Any]:
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
