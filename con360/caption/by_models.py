"""Caption a panorama by models: a captioner looks at the cube faces, a language model merges what it says.

Light at import. Source: paper section 2.1, figure 2 (1).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from .prompts import DEFAULT_BATCH, DEFAULT_TIMES, CaptionPrompts

if TYPE_CHECKING:
    from ..records import PanoramaClip, Progress, SceneCaption
    from .budget import TokenBudget
    from .faces import FaceCaptions

Network = TypeVar("Network")


class Visit(Protocol):
    """Holds one network while the block runs: `load(folder, device=..., dtype=...)`, on the device that it needs."""

    def __call__(self, load: Callable[..., Network], folder: Path) -> AbstractContextManager[Network]: ...


@dataclass(frozen=True)
class CaptionModels:
    """The models that write a caption, and what they are asked.

    Args:
        captioner: folder of BLIP-2 or BLIP.
        writer: folder of the language model; None joins the faces' words by rule.
        times: moments of the clip that are captioned. batch_size: faces captioned at once.
        prompts: requests to both models.
    """

    captioner: Path
    writer: Path | None = None
    times: int = DEFAULT_TIMES
    batch_size: int = DEFAULT_BATCH
    prompts: CaptionPrompts = CaptionPrompts()

    def check(self) -> None:
        """Check numbers and folders before anything long starts.

        Raises:
            InputError: a number out of range, or a folder that holds no such model.
        """
        from .captioner import check_captioner
        from .faces import check_numbers
        from .writer import check_writer

        check_numbers(self.times, self.batch_size)
        check_captioner(self.captioner)
        if self.writer is not None:
            check_writer(self.writer)


def caption_scene(
    clip: PanoramaClip, models: CaptionModels, visit: Visit, *, budget: TokenBudget | None = None,
    progress: Progress | None = None,
) -> SceneCaption:  # fmt: skip
    """Caption the faces and merge their captions, with one network in memory at a time.

    Args:
        clip: the panorama.
        visit: opens each network.
        budget: what the text encoders read of the short caption; None estimates CLIP's 77 tokens.
        progress: told of each stage, batch and token; may raise to cancel.

    Raises:
        InputError: as `caption_faces` and `merge_captions`.
    """
    from .merge import merge_captions
    from .writer import load_writer

    faces = _caption_faces(clip, models, visit, progress)
    if models.writer is None:
        return merge_captions(faces, budget=budget, progress=progress)
    _tell(progress, 0, "loading the language model")
    with visit(load_writer, models.writer) as writer:
        _tell(progress, 1, "loading the language model")
        return merge_captions(faces, writer, prompts=models.prompts, budget=budget, progress=progress)


def _caption_faces(
    clip: PanoramaClip, models: CaptionModels, visit: Visit, progress: Progress | None
) -> FaceCaptions:  # fmt: skip
    # A function of its own: its end lets the captioner go.
    from .captioner import load_captioner
    from .faces import caption_faces

    _tell(progress, 0, "loading the captioner")
    with visit(load_captioner, models.captioner) as captioner:
        _tell(progress, 1, "loading the captioner")
        return caption_faces(
            captioner, clip, times=models.times, batch_size=models.batch_size, prompt=models.prompts.face,
            progress=progress,
        )  # fmt: skip


def _tell(progress: Progress | None, done: int, what: str) -> None:
    if progress is not None:
        progress(done, 1, what)
