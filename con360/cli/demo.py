"""`con360 demo`: render a sample scene and generate views with and without a performer behind the camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import MULTICUE
from ..devices import resolve_device
from ..errors import InputError
from ..timing import ClipSpec
from .common import load
from .report import Report, stage_table, table, viewpoint_table
from .requests import DemoRequest

if TYPE_CHECKING:
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import PanoramaClip, SaliencyMaps, Sound, Viewpoint, ViewpointClip
    from ..sampling.settings import SamplerSettings
    from ..scenes import Performer, Scene

SAMPLE_HEIGHT = 512
SAMPLE, PICTURE = "sample-360.mp4", "conditions.png"
FIRST, SECOND, ALONE = "viewpoint-1.mp4", "viewpoint-2.mp4", "viewpoint-1-alone.mp4"
HEADPHONES, TURN_PX = "headphones.mp4", 256
FILES = {
    SAMPLE: "the 360° sample, rendered and not filmed; players turn it, picture and sound",
    FIRST: "the view of what is most salient",
    SECOND: "the view of what comes second",
    ALONE: "the first view without the performer behind the camera",
    HEADPHONES: "the generated sound on headphones, while the listener turns once around to the right",
    PICTURE: "a picture that explains them",
}


@dataclass(frozen=True)
class DemoScene:
    """A rendered scene, and the saliency that the control reads."""

    scene: Scene
    clip: PanoramaClip
    saliency: SaliencyMaps


@dataclass(frozen=True)
class Generator:
    """Model, control and settings that the demo's generations share."""

    model: JointModel
    control: LoadedControl | None
    settings: SamplerSettings
    report: Report

    def views(self, stage: DemoScene, wanted: Mapping[str, Viewpoint]) -> dict[str, ViewpointClip]:
        """Generate views of one scene over one sound, by their files' names."""
        from ..anew.views import generate_views
        from ..pipeline import conditions_of

        conditions = [
            conditions_of(stage.clip, stage.saliency, view, stage.scene.caption(), control=self.control)
            for view in wanted.values()
        ]
        clips = self.report.stages(
            [Path(name).stem for name in wanted],
            lambda progress: generate_views(self.model, self.control, conditions, self.settings, progress=progress),
        )
        made = {}
        for name, clip in zip(wanted, clips, strict=True):
            self.report.notice(*clip.notices)
            made[name] = clip
        return made


def run_demo(options: DemoRequest, started: float) -> None:
    """Render, look, generate three times, write, explain."""
    folder = Path(options.out).expanduser().absolute()
    _check_folder(folder)
    device = resolve_device(options.device)
    from ..media.writer import write_clip
    from ..pipeline import default_settings
    from ..placing.generated import heard_of, usual_sound
    from ..saliency.predict import clip_saliency
    from ..sampling.settings import SamplerSettings
    from ..scenes import demo_scene
    from ..viewpoint.choose import viewpoints

    given: dict[str, Any] = {"seed": options.seed}
    given |= {} if options.steps is None else {"steps": options.steps}
    SamplerSettings(**given)  # checks ranges before the model is loaded
    report, scene = Report(started, device), demo_scene()
    model, control = load(options, device, report)
    generator = Generator(model, control, default_settings(model, **given), report)
    whole = _set_up(scene, control, device, "sample", report)
    _write_sample(folder, whole, report)
    with report.stage("viewpoints") as progress:
        saliency = clip_saliency(whole.clip, device=device, progress=progress)
        found = viewpoints(saliency, whole.clip.fps)
        first, second = found[0], found[1] if len(found) > 1 else opposite_viewpoint(found[0])
    behind = performer_behind(scene, first)
    alone = _set_up(scene.without(behind), control, device, "sample without one", report)
    clips = generator.views(whole, {FIRST: first, SECOND: second}) | generator.views(alone, {ALONE: first})
    around = _around(clips[FIRST])
    tracks, kind = {FIRST: first.track, SECOND: second.track, ALONE: first.track}, usual_sound(control)
    clips = {name: replace(clip, sound=heard_of(clip, kind, tracks[name])) for name, clip in clips.items()}
    with report.stage("writing", steps=False):
        for name, clip in clips.items():
            report.notice(*write_clip(folder / name, clip.frames, clip.fps, clip.sound))
        if around is not None:
            turning = _turning(whole.clip, around)
            report.notice(*write_clip(folder / HEADPHONES, turning.frames, turning.fps, turning.sound))
    with report.stage("picture", steps=False):
        shown = replace(whole, saliency=saliency)
        _draw(folder / PICTURE, shown, found, (first, second), clips, scene.performers[behind], around)
    _tell(folder, found, (first, second), clips, scene.performers[behind], report)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; a folder is wanted. Choose another name.")
    from ..media.files import check_writable

    check_writable(folder / SAMPLE)


def _set_up(scene: Scene, control: LoadedControl | None, device: str, name: str, report: Report) -> DemoScene:
    """Render a scene and estimate its saliency from the picture, as for any footage."""
    from ..saliency.predict import clip_saliency

    with report.stage(f"rendering the {name}", steps=False):
        clip = scene.panorama(SAMPLE_HEIGHT)
    with report.stage(f"saliency of the {name}") as progress:
        method = MULTICUE if control is None else control.saliency
        return DemoScene(scene, clip, clip_saliency(clip, method, device=device, progress=progress))


def _write_sample(folder: Path, stage: DemoScene, report: Report) -> None:
    from ..media.writer import write_clip

    with report.stage("writing the sample", steps=False):
        sound = stage.clip.sound
        report.notice(*write_clip(folder / SAMPLE, stage.clip.frames, stage.clip.fps, sound, panorama="mono"))


def _around(clip: ViewpointClip) -> Sound | None:
    """The generated sound as Ambisonics; None where the control gives no directions."""
    from ..placing.generated import sound_around

    return None if clip.directions is None else sound_around(clip, tuple)[0]


def _turning(clip: PanoramaClip, around: Sound) -> ViewpointClip:
    """Sight and hearing of a listener who turns once around, to the right."""
    from ..pipeline import crop_view
    from ..placing.generated import heard_from
    from ..records import View, ViewTrack

    track = ViewTrack(tuple(View((360 * i / clip.num_frames + 180) % 360 - 180) for i in range(clip.num_frames)))
    seen = crop_view(clip, track, TURN_PX, "omni")
    return replace(seen, sound=heard_from(around, "headphones", track, clip.fps))


def opposite_viewpoint(viewpoint: Viewpoint) -> Viewpoint:
    """A still view to the other side, for a scene with one salient region."""
    from ..viewpoint.choose import manual_viewpoint

    view = viewpoint.track.views[0]
    return manual_viewpoint(view.yaw_deg + 180.0, -view.pitch_deg, view.fov_deg, len(viewpoint.track))


def performer_behind(scene: Scene, viewpoint: Viewpoint) -> int:
    """Index of the performer whose direction, in the middle of the clip, is furthest from the view's."""
    from ..geometry.sphere import angle_between_deg, directions

    view = viewpoint.track.views[len(viewpoint.track) // 2]
    centre = directions(view.yaw_deg, view.pitch_deg)
    time_s = ClipSpec().seconds / 2
    away = [float(angle_between_deg(centre, directions(p.yaw_at(time_s), p.pitch_deg))) for p in scene.performers]
    return away.index(max(away))


def _band_levels(clips: dict[str, ViewpointClip], performer: Performer) -> dict[str, float]:
    """Level in the band of a performer's voice, which no other voice shares, for each clip."""
    from ..metrics.audio import band_level_db
    from ..scenes import VOICES

    return {name: band_level_db(clip.sound, VOICES[performer.voice].band_hz) for name, clip in clips.items()}


def _draw(
    path: Path, stage: DemoScene, found: tuple[Viewpoint, ...], views: tuple[Viewpoint, Viewpoint],
    clips: dict[str, ViewpointClip], performer: Performer, around: Sound | None,
) -> None:  # fmt: skip
    from ..drawing.compass import SoundMark
    from ..drawing.figure import Band, LookingView, Mark, Panel, conditions_figure, write_figure
    from ..drawing.panorama import VIEW_COLOURS
    from ..scenes import VOICES

    low, high = VOICES[performer.voice].band_hz
    levels = _band_levels(clips, performer)
    here = f"in the bracket ({low:.0f} to {high:.0f} Hz): "
    panels = [
        Panel(FIRST, clips[FIRST], VIEW_COLOURS[0], f"{here}{levels[FIRST]:.0f} dB; outlined: louder than in {ALONE}",
              louder_than=clips[ALONE].sound),
        Panel(ALONE, clips[ALONE], VIEW_COLOURS[0], f"{here}{levels[ALONE]:.0f} dB; same view, same seed"),
        Panel(SECOND, clips[SECOND], VIEW_COLOURS[1], f"{here}{levels[SECOND]:.0f} dB"),
    ]  # fmt: skip
    looking = [LookingView(Path(name).stem, viewpoint.track, colour)
               for name, viewpoint, colour in zip((FIRST, SECOND), views, VIEW_COLOURS, strict=False)]  # fmt: skip
    remarks = [
        f"{performer.phrase.capitalize()}: behind the camera of viewpoint-1, crossed out, and not in "
        f"{Path(ALONE).stem}. Its voice lies in the bracket beside each spectrogram."
    ]
    middle_s = ClipSpec().seconds / 2
    mark = Mark(float(performer.yaw_at(middle_s)), performer.pitch_deg, f"not in {Path(ALONE).stem}")
    sounds = [SoundMark(float(p.yaw_at(middle_s)), p.pitch_deg, f"the {p.shape} {VOICES[p.voice].verb}")
              for p in stage.scene.performers]  # fmt: skip
    figure = conditions_figure(
        stage.clip, stage.saliency, found, looking, stage.scene.caption(), panels,
        marks=[mark], band=Band(low, high), remarks=remarks, sounds=sounds, generated=around,
    )  # fmt: skip
    write_figure(path, figure)


def _tell(
    folder: Path, found: tuple[Viewpoint, ...], views: tuple[Viewpoint, Viewpoint], clips: dict[str, ViewpointClip],
    performer: Performer, report: Report,
) -> None:  # fmt: skip
    from ..scenes import VOICES

    low, high = VOICES[performer.voice].band_hz
    levels = _band_levels(clips, performer)
    print(viewpoint_table(found, [v.rank for v in views]), end="\n\n")
    print(f"Behind the camera of viewpoint-1: {performer.phrase}, {low:.0f} to {high:.0f} Hz.")
    print(f"That band is at {levels[FIRST]:.0f} dB in {FIRST}, and at {levels[ALONE]:.0f} dB in {ALONE},")
    print("for which it was taken out of the scene.\n")
    print(stage_table(report), end="\n\n")
    files = {name: text for name, text in FILES.items() if name != HEADPHONES or clips[FIRST].directions is not None}
    print(table((str(folder / name), text) for name, text in files.items()))
