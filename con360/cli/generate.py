"""`con360 generate`: make a viewpoint clip from a 360° file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..choices import BUILT_IN_MODEL, MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from ..sound.channels import check_ambisonics
from ..timing import ClipSpec
from .caption import captioning, face_facts, write_caption
from .common import check_saliency, face_detector, load, notice_missing
from .report import Report, peak_memory_mb, stage_table, viewpoint_table
from .requests import GenerateRequest
from .start import VIEW, check_start, read_start, start_settings, start_source
from .when import time_facts, time_guide

if TYPE_CHECKING:
    from ..caption.by_models import CaptionModels
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import Conditions, PanoramaClip, SaliencyMaps, SceneCaption, Viewpoint, ViewpointClip, ViewTrack
    from ..reframing.held import HeldPicture
    from ..saliency.human_faces import FaceDetector
    from ..sampling.settings import SamplerSettings

MAX_STRENGTH = 10.0


@dataclass(frozen=True)
class _Scene:
    """The panorama, its saliency, the viewpoints found in it, and the chosen one."""

    clip: PanoramaClip
    saliency: SaliencyMaps
    found: tuple[Viewpoint, ...]
    viewpoint: Viewpoint


def run_generate(options: GenerateRequest, started: float) -> None:
    """Check every option, then look, generate and write."""
    out, picture, field = _check_places(options)
    _check_view(options)
    strengths = _strengths(options)
    spec = ClipSpec(options.duration)
    _check_files(options)
    check_start(options)
    check_ambisonics(options.ambisonics, options.head_locked)
    device, detector = resolve_device(options.device), face_detector(options.faces)
    from ..models.precision import working_dtype
    from ..pipeline import conditions_of, default_settings, drawing_notices, generate
    from ..sampling.settings import SamplerSettings

    working_dtype(options.dtype, device)
    caption_models = _caption_models(options)
    given = _given_settings(options)
    track, guide = time_guide(options, spec.seconds)
    SamplerSettings(**given)  # checks ranges; what the model recommends is added when it is loaded
    report = Report(started, device)
    scene = _look(options, spec, device, detector, report)
    # The caption models go before the joint model comes: memory need not hold both.
    caption = _caption(options, caption_models, scene.clip, device, report)
    model, control = load(options, device, report, rest="cpu" if options.memory == "low" else device)
    settings = default_settings(model, **given)
    read = _saliency_read(options, scene, control, device, report)
    conditions = replace(conditions_of(scene.clip, read, scene.viewpoint, caption, control=control), when=track)
    notice_missing(conditions, control, options, report)
    start, settings = read_start(options, settings, scene.clip, conditions.track, model, report)
    with report.stage("generation") as progress:
        made = generate(
            model, control, conditions, settings, seconds=spec.seconds, strengths=strengths, start=start,
            when=guide, device=device, progress=progress,
        )  # fmt: skip
    report.seconds.update(made.stage_seconds)
    del report.seconds["generation"]
    report.notice(*made.notices)
    timed = time_facts(options, track, made.sound, report)
    remarks = drawing_notices(model, conditions.caption, settings)
    held = _write(options, out, picture, scene, conditions, made, remarks, report)
    if field is not None:
        _write_field(field, options, made, device, report)
    if options.json:
        facts = {**_facts(options, settings, model, control, scene, conditions, made, held, report), "when": timed}
        files = {"output": out, "conditions": picture, "field": field}
        print(json.dumps({**facts, **{name: path and str(path) for name, path in files.items()}}))
        return
    _tell(scene, [path for path in (out, picture, field) if path], report)


# Before the work ------------------------------------------------------------------------------------------------------


def _check_places(options: GenerateRequest) -> tuple[Path, Path | None, Path | None]:
    """Check where to write: suffix, permission, and not the input itself."""
    from ..media.files import existing_file

    source = existing_file(options.input)
    out = _check_place(options.output, ".mp4", "-o", source)
    picture = _check_place(options.conditions, ".png", "--conditions", source) if options.conditions else None
    field = _check_place(options.field, ".wav", "--field", source) if options.field else None
    return out, picture, field


def _check_place(name: str, suffix: str, option: str, source: Path) -> Path:
    from ..media.files import check_writable

    path = Path(name).expanduser().absolute()
    if path.suffix.lower() != suffix:
        raise InputError(f"{option} {name} does not end in {suffix}, the only format that is written there; rename it.")
    if path.exists() and path.samefile(source):
        raise InputError(f"{option} {name} is the input itself, which is never overwritten; choose another name.")
    return check_writable(path)


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
    options: GenerateRequest, spec: ClipSpec, device: str, detector: FaceDetector | None, report: Report
) -> _Scene:  # fmt: skip
    """Read the panorama, find what is salient, and choose the viewpoint."""
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
        return _Scene(clip, saliency, found, manual)
    rank = options.viewpoint or 1
    if rank > len(found):
        raise InputError(
            f"viewpoint {rank} was asked for and {len(found)} {'was' if len(found) == 1 else 'were'} found in "
            f"{clip.source}; choose a rank up to {len(found)}, or a direction with --yaw and --pitch."
        )
    report.notice(*viewpoint_notices(found))
    return _Scene(clip, saliency, found, found[rank - 1])


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


def _write(
    options: GenerateRequest, out: Path, picture: Path | None, scene: _Scene, conditions: Conditions,
    made: ViewpointClip, remarks: tuple[str, ...], report: Report,
) -> HeldPicture | None:  # fmt: skip
    """Write the clip and, where it is asked for, the picture of how its view was found; tell of a held picture."""
    from ..media.writer import write_clip

    held = None
    if options.hold == "picture":
        held = _write_held(options, out, conditions.track, made, report)
    else:
        with report.stage("writing", steps=False):
            report.notice(*write_clip(out, made.frames, made.fps, made.sound))
    if picture is not None:
        _write_figure(out, picture, scene, conditions, made, remarks, report)
    return held


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
                sound="none", start_s=options.start, duration_s=made.sound.duration_s, eye=options.eye
            )
            held = write_held_view(options.input, out, track, made.fps, made.sound, settings, progress=progress)
    report.notice(*held.notices)
    return held


def _write_figure(
    out: Path, picture: Path, scene: _Scene, conditions: Conditions, made: ViewpointClip, remarks: tuple[str, ...],
    report: Report,
) -> None:  # fmt: skip
    from ..drawing.figure import INK, LookingView, Panel, conditions_figure, write_figure
    from ..drawing.panorama import VIEW_COLOURS
    from ..pipeline import crop_view

    with report.stage("picture", steps=False):
        true = crop_view(scene.clip, conditions.track, max(256, made.frames.shape[-1]))
        panels = [
            Panel(f"generated: {out.name}", made, VIEW_COLOURS[0], "; ".join(remarks)),
            Panel("the same view in the panorama", true, INK),
        ]
        views = [LookingView("view", conditions.track)]
        figure = conditions_figure(scene.clip, scene.saliency, scene.found, views, conditions.caption, panels)
        write_figure(picture, figure)


def _write_field(
    path: Path, options: GenerateRequest, made: ViewpointClip, device: str, report: Report
) -> None:  # fmt: skip
    """Write the generated sound as Ambisonics in the panorama's directions."""
    from ..media.info import probe
    from ..media.reader import read_panorama
    from ..media.writer import write_wav
    from ..placing.generated import place_generated
    from ..placing.movement import PICTURE_HEIGHT, movement_fps, movement_of_clip

    with report.stage("placing the sound") as progress:
        clip = read_panorama(
            options.input, start_s=options.start, duration_s=options.duration, eye=options.eye, height=PICTURE_HEIGHT,
            fps=movement_fps(probe(options.input).fps),
        )  # fmt: skip
        field, found = place_generated(made, movement_of_clip(clip, device=device, progress=progress))
    report.notice(*found.notices)
    report.notice(*write_wav(path, field))


# The answer -----------------------------------------------------------------------------------------------------------


def _tell(scene: _Scene, files: list[Path], report: Report) -> None:
    rank = scene.viewpoint.rank
    print(viewpoint_table(scene.found, [rank]) if rank else _by_hand(scene.viewpoint), end="\n\n")
    print(stage_table(report), end="\n\n")
    print(*files, sep="\n")


def _by_hand(viewpoint: Viewpoint) -> str:
    view = viewpoint.track.views[0]
    return f"view by hand: yaw {view.yaw_deg:g}°, pitch {view.pitch_deg:g}°, field of view {view.fov_deg:g}°"


def _facts(
    options: GenerateRequest, settings: SamplerSettings, model: JointModel, control: LoadedControl | None,
    scene: _Scene, conditions: Conditions, made: ViewpointClip, held: HeldPicture | None, report: Report,
) -> dict[str, Any]:  # fmt: skip
    memory, track = peak_memory_mb(), scene.viewpoint.track
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
    }
