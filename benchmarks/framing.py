"""`python -m benchmarks.framing [--clips FOLDER] [--faces FILE] [--seeds N]`: test if the camera looks at the subject.

Subjects were marked by eye, second by second (`framing_marks.csv`, `framing_marks.md`). In procedural scenes the
subject is one performer made larger and louder. In most recordings subjects stand at the front, so picture and sound
are rolled by a seeded yaw.

Printed: the share of seconds in which the subject lies within 20 and 40 degrees of rank 1 and of the best of three.
"Views" are the still views of each second; "camera" is what `con360 reframe --follow K` does.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from con360.geometry.sphere import angle_between_deg, angles, directions, rotation
from con360.media.reader import read_panorama
from con360.records import SaliencyMaps, Sound
from con360.saliency.heard import sound_intensity
from con360.saliency.human_faces import FaceDetector, HumanFace
from con360.saliency.multicue import CueStrengths, multicue_saliency
from con360.saliency.training_free import training_free_saliency
from con360.scenes import Performer, Scene, random_scene
from con360.sound.rotation import turn_matrices
from con360.viewpoint.choose import Ranking, viewpoints
from con360.viewpoint.follow import Follower

ROOT = Path(__file__).resolve().parent.parent
MARKS = Path(__file__).with_name("framing_marks.csv")
FPS, HEIGHT, FACE_HEIGHT, MAP_HEIGHT = 4, 256, 768, 128
# The table averages these clips; other marked clips only have a column of their own.
MAIN_CLIPS = ("JUN314", "NdE7", "V_To4", "G8p")
SCENES, ENLARGED = 6, 1.5
Place = tuple[float, float]


@dataclass(frozen=True)
class Take:
    """A clip with its subject.

    Args:
        frames: `[T, 3, H, W]` at `FPS`. sound: Ambisonics, or None where it holds no directions.
        faces: of each frame. marks: second to the places of equal subjects.
    """

    name: str
    frames: Tensor
    sound: Sound | None
    faces: tuple[tuple[HumanFace, ...], ...]
    marks: dict[int, list[Place]]

    def rolled(self, seed: int) -> Take:
        """Roll the clip, picture and sound, by a seeded yaw."""
        columns = int(np.random.default_rng(seed).integers(2 * HEIGHT))
        yaw = columns * 180.0 / HEIGHT
        sound = self.sound
        if sound is not None:
            sound = replace(sound, waveform=turn_matrices(rotation(-yaw, 0.0)).float() @ sound.waveform)
        faces = tuple(tuple(replace(face, yaw_deg=face.yaw_deg + yaw) for face in found) for found in self.faces)
        marks = {second: [(y + yaw, p) for y, p in places] for second, places in self.marks.items()}
        return Take(self.name, self.frames.roll(columns, -1), sound, faces, marks)

    @cached_property
    def heard(self) -> Tensor | None:
        return sound_intensity(self.sound, FPS, len(self.frames))


@dataclass(frozen=True)
class Way:
    """One row of the table: the cues in use, and the ranking of views."""

    name: str
    strengths: CueStrengths | None = CueStrengths()
    hears: bool = True
    sees_faces: bool = True
    ranking: Ranking = "subject"

    def maps(self, take: Take) -> Tensor:
        if self.strengths is None:
            return training_free_saliency(take.frames, MAP_HEIGHT)
        return multicue_saliency(
            take.frames, FPS, MAP_HEIGHT, heard=take.heard if self.hears else None,
            faces=take.faces if self.sees_faces else None, strengths=self.strengths,
        )  # fmt: skip


WAYS = (
    Way("all cues"),
    Way("without sound", hears=False),
    Way("without faces", sees_faces=False),
    Way("without motion", CueStrengths(motion=0.0)),
    Way("without structure", CueStrengths(structure=0.0)),
    Way("picture alone: no sound, no faces", hears=False, sees_faces=False),
    Way("all cues, the paper's centroids", ranking="centroid"),
    Way("training-free, the paper's centroids", None, ranking="centroid"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framing", description=__doc__.partition("\n")[0])
    shared = Path(os.environ.get("CON360_TEST_DATA") or ROOT.parent / "shared")
    parser.add_argument("--clips", type=Path, default=shared / "data" / "video_unlicensed", help="folder of the clips")
    parser.add_argument("--faces", type=Path, help="CenterFace as ONNX; without it no row sees faces")
    parser.add_argument("--seeds", type=int, default=2, help="rolls of each clip (default 2)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started, detector = time.process_time(), None if args.faces is None else FaceDetector(args.faces)
    takes = [*clips(args.clips, detector), *scenes()]
    read_s = time.process_time() - started
    seconds = sum(len(take.frames) for take in takes) / FPS
    print(f"{len(takes)} clips, {seconds:.0f} s; reading and faces: {read_s / seconds:.2f} core seconds per second"
          + ("" if detector else "; no face detector was given"), file=sys.stderr)  # fmt: skip
    results = {}
    for way in WAYS:
        started = time.process_time()
        results[way.name] = {take.name: score(way, take, args.seeds) for take in takes}
        spent = (time.process_time() - started) / seconds / args.seeds
        print(f"{way.name}: {spent:.2f} core seconds per second of video", file=sys.stderr)
    print(table(results, takes, args.seeds))
    return 0


def clips(folder: Path, detector: FaceDetector | None) -> list[Take]:
    """The marked clips that are in a folder; each missing one is named."""
    marks: dict[str, dict[int, list[Place]]] = {}
    with open(MARKS, newline="") as file:
        for row in csv.DictReader(file):
            place = float(row["yaw_deg"]), float(row["pitch_deg"])
            marks.setdefault(row["clip"], {}).setdefault(int(row["second"]), []).append(place)
    found = [_take(folder / name, places, detector) for name, places in marks.items() if (folder / name).is_file()]
    for name in marks.keys() - {take.name for take in found}:
        print(f"not there: {name}", file=sys.stderr)
    return found


def _take(path: Path, marks: dict[int, list[Place]], detector: FaceDetector | None) -> Take:
    duration_s = float(max(marks) + 1)
    clip = read_panorama(path, duration_s=duration_s, fps=FPS, height=HEIGHT)
    faces: list[tuple[HumanFace, ...]] = []
    for frame in read_panorama(path, duration_s=duration_s, fps=1, height=FACE_HEIGHT).frames if detector else ():
        assert detector is not None
        faces += [detector.find((frame.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())] * FPS
    # The sound of the clips named omni was made by a model.
    sound = None if path.name.startswith("omni") else clip.sound
    return Take(path.name, clip.frames, sound, tuple(faces or [()] * len(clip.frames)), marks)


def scenes() -> list[Take]:
    """Procedural scenes with one performer enlarged."""
    return [_scene_take(seed) for seed in range(SCENES)]


def _scene_take(seed: int) -> Take:
    scene: Scene = random_scene(seed)
    subject = _closer(scene.performers[0])
    scene = replace(scene, performers=(subject, *scene.performers[1:]))
    # At 8 frames per second, of which every other is taken.
    clip, places = scene.panorama(HEIGHT), {}
    for second in range(int(clip.num_frames / clip.fps)):
        places[second] = [(float(subject.yaw_at(second + 0.5)), subject.pitch_deg)]
    frames = clip.frames[:: round(clip.fps / FPS)]
    return Take(f"scene {seed}", frames, scene.foa(), ((),) * len(frames), places)


def _closer(performer: Performer) -> Performer:
    """Make a performer larger and louder, as if closer."""
    return replace(performer, radius_deg=ENLARGED * performer.radius_deg, level=ENLARGED * performer.level)


def score(way: Way, take: Take, seeds: int) -> np.ndarray:
    """`[4, N]`: angle to the subject of (view, best of three views, camera, best of three cameras), per second."""
    return np.concatenate([_score(way, take.rolled(seed)) for seed in range(seeds)], axis=1)


def _score(way: Way, take: Take) -> np.ndarray:
    maps = way.maps(take)
    cameras = [_camera(maps, rank) for rank in (1, 2, 3)]
    rows = []
    for second, places in take.marks.items():
        piece = maps[second * FPS : (second + 1) * FPS]
        found = viewpoints(SaliencyMaps(piece, ""), FPS, ranking=way.ranking)[:3]
        views = [(one.track.views[0].yaw_deg, one.track.views[0].pitch_deg) for one in found]
        at = min(round((second + 0.5) * FPS), len(maps) - 1)
        offs = [_off_deg(view, places) for view in views], [_off_deg(path[at], places) for path in cameras]
        rows.append([value for off in offs for value in (off[0], min(off))])
    return np.array(rows).T


def _camera(maps: Tensor, rank: int) -> list[Place]:
    follower = Follower(FPS, rank)
    for one in maps:
        follower.add(one)
    yaw, pitch = angles(torch.from_numpy(follower.path()))
    return list(zip(yaw.tolist(), pitch.tolist(), strict=True))


def _off_deg(view: Place, places: list[Place]) -> float:
    return min(float(angle_between_deg(directions(*view), directions(*place))) for place in places)


def _trivial(takes: list[Take], yaws: np.ndarray) -> np.ndarray:
    """Angles of fixed views at the horizon: one, and the best of three 120 degrees apart: `[2, N]`."""
    rows = []
    for take in takes:
        for places in take.marks.values():
            for yaw in yaws:
                offs = [_off_deg((float(yaw) + turn, 0.0), places) for turn in (0.0, 120.0, -120.0)]
                rows.append((offs[0], min(offs)))
    return np.array(rows).T


def table(results: dict[str, dict[str, np.ndarray]], takes: list[Take], seeds: int) -> str:
    """Markdown: shares of seconds over the main clips and over the scenes, then each clip's own within 20 degrees."""
    groups = {
        "clips": [take for take in takes if any(part in take.name for part in MAIN_CLIPS)],
        "scenes": [take for take in takes if take.name.startswith("scene")],
    }
    lines = []
    for group, members in groups.items():
        head = f"{len(members)} {group}, {sum(len(take.marks) for take in members)} s: within 20 / 40 degrees"
        lines += [f"| {head} | view 1 | best of views 1 to 3 | camera 1 | best of cameras 1 to 3 |", "|---" * 5 + "|"]
        for name, found in results.items():
            offs = np.concatenate([found[take.name] for take in members], axis=1)
            lines.append(f"| {name} | {' | '.join(map(_shares, offs))} |")
        rolls = [np.random.default_rng(seed).integers(2 * HEIGHT) * 180.0 / HEIGHT for seed in range(seeds)]
        # A roll moves the front of the clip: undo it for the second row.
        for name, yaws in (("chance: any yaw at the horizon", np.arange(0.0, 360.0, 7.5)),
                           ("always the front", -np.array(rolls))):  # fmt: skip
            alone, best = _trivial(members, yaws)
            lines.append(f"| {name} | {_shares(alone)} | {_shares(best)} | | |")
        lines.append("")
    lines += [f"| view 1 within 20 degrees | {' | '.join(take.name.split('.')[0] for take in takes)} |",
              "|---" * (len(takes) + 1) + "|"]  # fmt: skip
    for name, found in results.items():
        lines.append(f"| {name} | {' | '.join(f'{(found[take.name][0] <= 20).mean():.2f}' for take in takes)} |")
    return "\n".join(lines)


def _shares(off_deg: np.ndarray) -> str:
    return f"{(off_deg <= 20).mean():.2f} / {(off_deg <= 40).mean():.2f}"


if __name__ == "__main__":
    sys.exit(main())
