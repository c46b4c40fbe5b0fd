"""`con360 generate`: make a viewpoint clip from a 360° file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..choices import BUILT_IN_MODEL, MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from ..sound.channels import check_ambisonics
from ..timing import ClipSpec
from .caption import captioning, face_facts, write_caption
from .clip_files import Places, check_places, write_figure_of, write_view
from .clip_sound import Hearing
from .common import check_saliency, face_detector, load, notice_missing
from .guide import MeaningPlan, candidate_table, check_meaning, make_best, meaning_facts, plan_meaning
from .redo import RedoPlan, caption_given, check_redo, first_clip, redo_facts, remake, settings_given
from .report import Report, peak_memory_mb, stage_table, viewpoint_table
from .requests import GenerateRequest
from .scene_views import SceneView, ranks_of, view_facts, write_views
from .start import check_start, read_start, start_settings
from .when import time_facts, time_guide, with_track

if TYPE_CHECKING:
    from ..caption.by_models import CaptionModels
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import Conditions, PanoramaClip, SaliencyMaps, SceneCaption, Viewpoint, ViewpointClip
    from ..reframing.held import HeldPicture
    from ..saliency.human_faces import FaceDetector
    from ..sampling.settings import SamplerSettings

MAX_STRENGTH = 10.0


@dataclass(frozen=True)
class _Scene:
    """The panorama, its saliency, the viewpoints found in it, and the chosen ones."""

    clip: PanoramaClip
    saliency: SaliencyMaps
    found: tuple[Viewpoint, ...]
    chosen: tuple[Viewpoint, ...]

    @property
    def viewpoint(self) -> Viewpoint:
        return self.chosen[0]


def run_generate(options: GenerateRequest, started: float) -> None:
    """Check every option, then look, generate and write."""
    places = check_places(options)
    _check_view(options)
    ranks, plan = ranks_of(options), check_redo(options)
    strengths = _strengths(options)
    spec = ClipSpec(options.duration)
    _check_files(options)
    check_start(options)
    check_ambisonics(options.ambisonics, options.head_locked)
    device, detector = resolve_device(options.device), face_detector(options.faces)
    from ..anew.views import generate_views
    from ..models.precision import working_dtype
    from ..pipeline import conditions_of, default_settings
    from ..sampling.settings import SamplerSettings

    working_dtype(options.dtype, device)
    caption_models = _caption_models(options)
    given = settings_given(plan, _given_settings(options))
    track, guide = time_guide(options, spec.seconds)
    guide_settings = check_meaning(options, options.seed)
    SamplerSettings(**given)  # checks ranges; what the model recommends is added when it is loaded
    report = Report(started, device)
    scene = _look(options, ranks, spec, device, detector, report)
    # The caption models go before the joint model comes: memory need not hold both.
    caption = caption_given(plan, _caption(options, caption_models, scene.clip, device, report))
    model, control = load(options, device, report, rest="cpu" if options.memory == "low" else device)
    settings = default_settings(model, **given)
    meaning = plan_meaning(options, guide_settings, model, settings.seed, report)
    read = _saliency_read(options, scene, control, device, report)
    conditions = [
        with_track(conditions_of(scene.clip, read, viewpoint, caption, control=control), options, track, spec)
        for viewpoint in scene.chosen
    ]
    notice_missing(conditions[0], control, options, report)
    how: dict[str, Any] = {"seconds": spec.seconds, "strengths": strengths, "when": guide, "device": device}
    how["meaning"] = meaning.guiding
    hearing, held = Hearing(options, control, device, report), None
    if options.viewpoints is not None:
        making = partial(generate_views, model, control, conditions, settings, **how)
        views = write_views(making, scene.chosen, conditions, places.out, hearing.of, report)
    else:
        one = (options, plan, meaning, model, control, scene.clip, conditions[0])
        made, settings = _one_clip(*one, settings, how, report)
        views = [SceneView(scene.viewpoint, conditions[0], made, hearing.of(made, conditions[0].track), places.out)]
        held = write_view(options, places.out, conditions[0].track, views[0].heard, report)
    timed = time_facts(options, track, views[0].clip.sound, report)
    more = {"when": timed, "meaning": meaning_facts(meaning, views[0].clip)}
    _write_more(places, scene, views, model, settings, hearing, report)
    if options.json:
        facts = _facts(options, settings, model, control, scene, views, places, held, report)
        print(json.dumps({**facts, **more, "redo": redo_facts(plan, options, views[0].clip)}))
        return
    if meaning.ranked:
        print(candidate_table(meaning), end="\n\n")
    _tell(scene, [*(view.path for view in views), *places.more(views)], report)


# Before the work ------------------------------------------------------------------------------------------------------


def _check_view(options: GenerateRequest) -> None:
    if options.by_hand and options.viewpoint is not None:
        raise InputError("--viewpoint and --yaw or --pitch exclude each other; choose a rank or a direction.")
    if options.by_hand and options.track == "follow":
        raise InputError("--track follow follows a salient region; leave out --yaw and --pitch, or the track.")
    if options.viewpoint is not None and options.viewpoint < 1:
        raise InputError(f"viewpoint {options.viewpoint} was asked for; ranks count from 1, the most salient.")


def _strengths(options: GenerateRequest) -> dict[str, float]:
    """Strengths of saliency and of the BASD map."""
    for name in ("strength", "saliency_strength", "basd_strength"):
        value = getattr(options, name)
        if not 0 <= value <= MAX_STRENGTH:  # NaN fails as well
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is {value:g}; wanted 0 (off) to {MAX_STRENGTH:g}, and 1 is as trained.")
    return {name: options.strength * getattr(options, f"{name}_strength") for name in ("saliency", "basd")}


def _given_settings(options: GenerateRequest) -> dict[str, Any]:
    names = (
        "steps", "sampler", "seed", "cfg_video", "cfg_audio", "cfg_control", "control_start", "control_end", "memory",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return {**given, **start_settings(options), "negative_prompt": " ".join(options.negative.split())}


def _check_files(options: GenerateRequest) -> None:
    """Check that model, control and saliency weights are there, before a long video is read."""
    from ..weights.find import chosen_files

    parts, _ = chosen_files(options.model, options.part, options.control)
    if options.model != BUILT_IN_MODEL or options.part:
        # Headers alone: a wrong file is named now and not after minutes of video.
        from ..weights.load import check_model

        check_model(parts)
    check_saliency(options.saliency)


def _caption_models(options: GenerateRequest) -> CaptionModels | None:
    models = captioning(options)
    if models is not None and options.caption is not None:
        raise InputError("--caption and --captioner exclude each other; type the caption or have it written.")
    return models


# The work -------------------------------------------------------------------------------------------------------------


def _look(
    options: GenerateRequest, ranks: tuple[int, ...], spec: ClipSpec, device: str, detector: FaceDetector | None,
    report: Report,
) -> _Scene:  # fmt: skip
    """Read the panorama, find what is salient, and choose the viewpoints."""
    from ..media.reader import read_panorama
    from ..saliency.predict import clip_saliency
    from ..viewpoint.choose import DEFAULT_FOV_DEG, check_fov_deg, manual_viewpoint, viewpoint_notices, viewpoints

    fov_deg = DEFAULT_FOV_DEG if options.fov is None else check_fov_deg(options.fov)
    manual = None
    if options.by_hand:
        manual = manual_viewpoint(options.yaw or 0.0, options.pitch or 0.0, fov_deg, spec.num_frames)
    with report.stage("reading") as progress:
        clip = read_panorama(
            options.input, start_s=options.start, duration_s=spec.seconds, fps=spec.fps, eye=options.eye,
            reading=options.reading,
            audio_track=options.audio_track, ambisonics=options.ambisonics, head_locked=options.head_locked,
            progress=progress,
        )  # fmt: skip
    report.notice(*clip.notices)
    with report.stage("saliency") as progress:
        saliency = clip_saliency(
            clip, options.saliency or MULTICUE, detector=detector, device=device, progress=progress
        )
    with report.stage("viewpoints", steps=False):
        follow = options.track == "follow"
        found = viewpoints(
            saliency, spec.fps, fov_deg=fov_deg, mode="track" if follow else "still", ranking=options.choose_by
        )
    if manual is not None:
        return _Scene(clip, saliency, found, (manual,))
    if max(ranks) > len(found):
        raise InputError(
            f"viewpoint {max(ranks)} was asked for and {len(found)} {'was' if len(found) == 1 else 'were'} found in "
            f"{clip.source}; choose a rank up to {len(found)}, or a direction with --yaw and --pitch."
        )
    report.notice(*viewpoint_notices(found))
    return _Scene(clip, saliency, found, tuple(found[rank - 1] for rank in ranks))


def _caption(
    options: GenerateRequest, models: CaptionModels | None, clip: PanoramaClip, device: str, report: Report
) -> SceneCaption | None:  # fmt: skip
    """The caption as typed, or as models write it within what the joint model reads; None where neither is asked."""
    from ..caption import typed_caption
    from ..caption.budget import TokenBudget
    from ..weights.find import chosen_parts

    if models is None:
        return None if options.caption is None else typed_caption(options.caption)
    budget = TokenBudget.of_files(chosen_parts(options.model, options.part))
    return write_caption(models, clip, budget, device, report)


def _saliency_read(
    options: GenerateRequest, scene: _Scene, control: LoadedControl | None, device: str, report: Report
) -> SaliencyMaps:  # fmt: skip
    """The maps that the control reads: by the method that was asked for, else by the one that it was trained with."""
    from ..pipeline import control_saliency

    found = scene.saliency
    if options.saliency is not None:
        if control is not None and control.saliency != found.method:
            report.notice(f"the control was trained with saliency by {control.saliency}; it reads {found.method}")
        return found
    with report.stage("the control's saliency") as progress:
        read, notices = control_saliency(scene.clip, control, found, device=device, progress=progress)
    report.notice(*notices)
    return read


def _one_clip(
    options: GenerateRequest, plan: RedoPlan | None, meaning: MeaningPlan, model: JointModel,
    control: LoadedControl | None, clip: PanoramaClip, conditions: Conditions, settings: SamplerSettings,
    how: dict[str, Any], report: Report,
) -> tuple[ViewpointClip, SamplerSettings]:  # fmt: skip
    """Generate the one view, the best of its seeds, or read it; make the span anew that was asked for."""
    from ..pipeline import generate

    if plan is not None and plan.file is not None:
        made = first_clip(plan.file, model, conditions.track.views[0], how["device"], settings, report)
    else:
        start, settings = read_start(options, settings, clip, conditions.track, model, report)
        making = partial(generate, model, control, conditions, start=start, **how)
        made, settings = make_best(meaning, making, settings, conditions.caption.short, report)
    if plan is not None:
        made = remake(plan, options, model, control, conditions, made, settings, how, report)
    report.notice(*made.notices)
    return made, settings


def _write_more(
    places: Places, scene: _Scene, views: Sequence[SceneView], model: JointModel, settings: SamplerSettings,
    hearing: Hearing, report: Report,
) -> None:  # fmt: skip
    """Write what was asked for beside the clips."""
    from ..pipeline import drawing_notices

    first = views[0]
    around = hearing.around(first.clip) if places.picture and first.clip.directions is not None else None
    for view, picture in zip(views if places.picture else (), places.pictures(views), strict=True):
        remarks = drawing_notices(model, view.conditions.caption, settings)
        write_figure_of(view, picture, scene.clip, scene.saliency, scene.found, remarks, around, report)
    if places.field is not None:
        hearing.write_field(places.field, first.clip)
    if places.latents is not None:
        from ..anew.latents_file import save_latents

        save_latents(places.latents, first.clip, model, settings, first.conditions)


# The answer -----------------------------------------------------------------------------------------------------------


def _tell(scene: _Scene, files: list[Path], report: Report) -> None:
    rank = scene.viewpoint.rank
    chosen = [viewpoint.rank for viewpoint in scene.chosen]
    print(viewpoint_table(scene.found, chosen) if rank else _by_hand(scene.viewpoint), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(*files, sep="\n")


def _by_hand(viewpoint: Viewpoint) -> str:
    view = viewpoint.track.views[0]
    return f"view by hand: yaw {view.yaw_deg:g}°, pitch {view.pitch_deg:g}°, field of view {view.fov_deg:g}°"


def _facts(
    options: GenerateRequest, settings: SamplerSettings, model: JointModel, control: LoadedControl | None,
    scene: _Scene, views: Sequence[SceneView], places: Places, held: HeldPicture | None, report: Report,
) -> dict[str, Any]:  # fmt: skip
    memory, track, pictures = peak_memory_mb(), scene.viewpoint.track, places.pictures(views)
    conditions, made = views[0].conditions, views[0].heard
    return {
        "con360": __version__,
        "input": options.input,
        "start_s": options.start,
        "seed": settings.seed,
        "settings": asdict(settings),
        "model": model.name,
        "control": None if control is None else control.path,
        "saliency": conditions.saliency.method,
        "viewpoints_by": {"saliency": scene.saliency.method, "choice": options.choose_by},
        "caption": _caption_facts(conditions.caption),
        "viewpoints": [{"rank": v.rank, **(asdict(v.region) if v.region else {})} for v in scene.found],
        "view": {"rank": scene.viewpoint.rank, "still": track.is_still, **asdict(track.views[0])},
        "clip": _clip_facts(made),
        "held_picture": held and {"width": held.width, "height": held.height, "frames": held.num_frames},
        "device": report.device,
        "stages_s": {name: round(seconds, 3) for name, seconds in report.seconds.items()},
        "total_s": round(report.total_seconds, 3),
        "peak_memory_mb": None if memory is None else round(memory, 1),
        "warnings": report.notices,
        "output": str(views[0].path),
        "conditions": str(pictures[0]) if pictures else None,
        "field": places.field and str(places.field),
        "latents": places.latents and str(places.latents),
        "views": [view_facts(view, pictures[i] if pictures else None) for i, view in enumerate(views)],
    }


def _caption_facts(caption: SceneCaption) -> dict[str, Any]:
    return {"text": caption.short, "origin": caption.origin, "long": caption.long, "faces": face_facts(caption)}


def _clip_facts(made: ViewpointClip) -> dict[str, Any]:
    return {
        "frames": len(made.frames),
        "fps": made.fps,
        "size_px": made.frames.shape[-1],
        "samples": made.sound.waveform.shape[-1],
        "sample_rate_hz": made.sound.sample_rate_hz,
        "channels": made.sound.waveform.shape[0],
        "has_directions": made.directions is not None,
    }
