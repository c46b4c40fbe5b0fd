"""Files that `con360 generate` writes: the clip, the picture of how its view was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .report import Report
from .requests import GenerateRequest
from .scene_views import SceneView, numbered
from .start import VIEW, start_source

if TYPE_CHECKING:
    from ..records import PanoramaClip, SaliencyMaps, Sound, Viewpoint, ViewpointClip, ViewTrack
    from ..reframing.held import HeldPicture


@dataclass(frozen=True)
class Places:
    """Files to write; None where one was not asked for."""

    out: Path
    picture: Path | None
    field: Path | None
    latents: Path | None

    def pictures(self, views: Sequence[SceneView]) -> list[Path]:
        """One for each view; those of several views are numbered as their clips are."""
        if self.picture is None:
            return []
        several = any(view.path != self.out for view in views)
        return [numbered(self.picture, view.viewpoint.rank) if several else self.picture for view in views]

    def more(self, views: Sequence[SceneView]) -> list[Path]:
        """The files beside the clips."""
        return [*self.pictures(views), *(path for path in (self.field, self.latents) if path is not None)]


def check_places(options: GenerateRequest) -> Places:
    """Check where to write: suffix, permission, and not the input itself."""
    from ..media.files import existing_file

    source = existing_file(options.input)

    def checked(name: str | None, suffix: str, option: str) -> Path | None:
        return None if name is None else _check_place(name, suffix, option, source)

    return Places(
        _check_place(options.output, ".mp4", "-o", source),
        checked(options.conditions, ".png", "--conditions"),
        checked(options.field, ".wav", "--field"),
        checked(options.save_latents, ".safetensors", "--save-latents"),
    )


def _check_place(name: str, suffix: str, option: str, source: Path) -> Path:
    from ..media.files import check_writable

    path = Path(name).expanduser().absolute()
    if path.suffix.lower() != suffix:
        raise InputError(f"{option} {name} does not end in {suffix}, the only format that is written there; rename it.")
    if path.exists() and path.samefile(source):
        raise InputError(f"{option} {name} is the input itself, which is never overwritten; choose another name.")
    return check_writable(path)


def write_view(
    options: GenerateRequest, out: Path, track: ViewTrack, made: ViewpointClip, report: Report
) -> HeldPicture | None:
    """Write the clip; tell of a held picture."""
    from ..media.writer import write_clip

    if options.hold == "picture":
        return _write_held(options, out, track, made, report)
    with report.stage("writing", steps=False):
        report.notice(*write_clip(out, made.frames, made.fps, made.sound))
    return None


def _write_held(
    options: GenerateRequest, out: Path, track: ViewTrack, made: ViewpointClip, report: Report
) -> HeldPicture:  # fmt: skip
    """Write the held picture from its own source: the model's few pixels are for the model alone."""
    from ..reframing.held import write_held_file, write_held_view
    from ..reframing.run import ReframeSettings

    source = start_source(options)
    with report.stage("writing") as progress:
        if source != VIEW:
            assert source is not None  # there is no hold without a start
            held = write_held_file(source, out, made.sound, progress=progress)
        else:
            settings = ReframeSettings(
                sound="none",
                start_s=options.start,
                duration_s=made.sound.duration_s,
                eye=options.eye,
                reading=options.reading,
            )
            held = write_held_view(options.input, out, track, made.fps, made.sound, settings, progress=progress)
    report.notice(*held.notices)
    return held


def write_figure_of(
    view: SceneView, picture: Path, clip: PanoramaClip, saliency: SaliencyMaps, found: Sequence[Viewpoint],
    remarks: tuple[str, ...], around: Sound | None, report: Report,
) -> None:  # fmt: skip
    """Draw how a view was found and what was generated for it; `around` is its sound as Ambisonics, where known."""
    from ..drawing.figure import INK, LookingView, Panel, conditions_figure, write_figure
    from ..drawing.panorama import VIEW_COLOURS
    from ..pipeline import crop_view

    conditions, made = view.conditions, view.heard
    with report.stage("picture", steps=False):
        true = crop_view(clip, conditions.track, max(256, made.frames.shape[-1]))
        panels = [
            Panel(f"generated: {view.path.name}", made, VIEW_COLOURS[0], "; ".join(remarks)),
            Panel("the same view in the panorama", true, INK),
        ]
        views = [LookingView("view", conditions.track)]
        figure = conditions_figure(clip, saliency, found, views, conditions.caption, panels, generated=around)
        write_figure(picture, figure)
