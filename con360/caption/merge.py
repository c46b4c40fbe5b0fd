"""Merge face captions into one scene caption, by a language model or by rule.

Source: paper section 2.1, figure 2 (1).
"""

from __future__ import annotations

import unicodedata
from collections import Counter

from ..errors import InputError
from ..geometry.cubemap import FACE_NAMES
from ..records import CaptionOrigin, Progress, SceneCaption
from .budget import TokenBudget, fit_caption, whole_sentences
from .faces import DIRECTIONS, FaceCaptions
from .plain import MAX_CHARACTERS
from .prompts import CaptionPrompts
from .writer import Writer

LONG_TOKENS, SHORT_TOKENS = 300, 100
# People ahead and behind come first: the end is what a short caption loses.
_ORDER = ("front", "back", "left", "right", "up", "down")
# CLIP and CLAP read English; a share of other letters above this is no loan word.
FOREIGN_SHARE = 0.2


def merge_captions(
    faces: FaceCaptions,
    writer: Writer | None = None,
    *,
    prompts: CaptionPrompts | None = None,
    budget: TokenBudget | None = None,
    progress: Progress | None = None,
) -> SceneCaption:
    """Merge the faces' captions into one of the whole scene.

    Args:
        writer: the language model; None joins the faces' own words by rule ("in front: ...; behind: ...").
        prompts: requests to it.
        budget: what the text encoders read of the short caption; None estimates CLIP's 77 tokens.
        progress: told of each token written; may raise to cancel.

    Returns:
        `origin` says who wrote it: "models", or "rules" (also where the language model wrote nothing, with a notice).

    Raises:
        InputError: the request is longer than the language model reads, or memory runs out.
    """
    budget = budget or TokenBudget.clip_estimate()
    notices = list(faces.notices)
    short = long = ""
    if writer is not None:
        short, long = _written(faces, writer, prompts or CaptionPrompts(), progress, notices)
        if not short:
            notices.append(f"{writer.name} wrote nothing: the faces' captions were joined by rule")
    origin: CaptionOrigin = "models" if short else "rules"
    if not short:
        short, long = merge_by_rule(faces)
    long = _bounded(long, notices)
    if foreign_share(short) > FOREIGN_SHARE:
        notices.append("the short caption is not in Latin letters; the text encoders were trained on English")
    short, cut = fit_caption(short, budget)
    if cut:
        notices.append(cut)
    return SceneCaption(short, long, origin, faces.items, tuple(dict.fromkeys(notices)))


def _written(
    faces: FaceCaptions, writer: Writer, prompts: CaptionPrompts, progress: Progress | None, notices: list[str]
) -> tuple[str, str]:
    """Write short and long caption by the language model; both empty where it writes nothing."""
    if not writer.chats:
        notices.append(f"{writer.name} has no chat template and may be no instruct model: it was asked in plain text")
    lines = "\n".join(str(item) for item in faces.items if item.text)
    long = _ask(writer, prompts.merge.replace("{captions}", lines), LONG_TOKENS, progress, "long caption", notices)
    if not long:
        return "", ""
    request = prompts.short.replace("{description}", long)
    short = _ask(writer, request, SHORT_TOKENS, progress, "short caption", notices)
    if not short:
        notices.append(f"{writer.name} wrote no short caption: the long one's beginning is used")
    return short or long, long


def _ask(writer: Writer, request: str, tokens: int, progress: Progress | None, what: str, notices: list[str]) -> str:
    text, ended = writer.write(request, tokens, progress, what)
    if ended:
        return text
    notices.append(f"{writer.name} was stopped at {tokens} tokens of the {what}, which is cut to its whole sentences")
    return whole_sentences(text)


def _bounded(text: str, notices: list[str]) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    notices.append(f"the long caption had {len(text)} characters and was cut to at most {MAX_CHARACTERS}")
    return whole_sentences(text[:MAX_CHARACTERS].rsplit(" ", 1)[0])


def merge_by_rule(faces: FaceCaptions) -> tuple[str, str]:
    """Join the faces' own words by direction: each one's most frequent caption (short), or all in order of time (long).

    Directions with equal words are named together.

    Returns:
        Short and long caption.

    Raises:
        InputError: no face has a caption.
    """
    said = {face: [item.text for item in faces.items if item.face == face and item.text] for face in FACE_NAMES}
    if not any(said.values()):
        raise InputError("no face has a caption, so there is nothing to merge; use another face prompt or captioner.")
    # most_common keeps the earliest of equals.
    often = {face: Counter(texts).most_common(1)[0][0].rstrip(" .;") for face, texts in said.items() if texts}
    changes = {
        face: ", then ".join(dict.fromkeys(text.rstrip(" .;") for text in texts))
        for face, texts in said.items()
        if texts
    }
    return _by_direction(often), _by_direction(changes) + "."


def _by_direction(texts: dict[str, str]) -> str:
    places: dict[str, list[str]] = {}
    for face in _ORDER:
        if face in texts:
            places.setdefault(texts[face], []).append(DIRECTIONS[face])
    parts = []
    for text, where in places.items():
        all_around = len(where) == len(FACE_NAMES)
        parts.append(f"{'all around' if all_around else _listed(where)}: {text}")
    return "; ".join(parts)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def foreign_share(text: str) -> float:
    """Measure the share of letters that are not Latin; 0 for a text without letters."""
    letters = [c for c in text if c.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(c, "") for c in letters)
    return foreign / len(letters) if letters else 0.0
