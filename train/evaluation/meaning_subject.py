"""Generate clips of test scenes with a guide by meaning, and measure them: by a judge, and by truth without encoder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from con360.choices import BUILT_IN_MODEL, VoiceFollows
from con360.control import LoadedControl, fingerprint, load_control
from con360.errors import InputError
from con360.meaning.built_in import load_built_in
from con360.meaning.conditioned import conditioned
from con360.meaning.guide import MeaningGuideSettings
from con360.meaning.guiding import Guiding, check_judge
from con360.meaning.measure import measure
from con360.metrics.audio import band_classes, codec_sound_embedding
from con360.metrics.video import codec_video_embedding
from con360.models.codecs import encode_frames, encode_mel
from con360.models.joint import JointModel
from con360.pipeline import default_settings, generate
from con360.protocols import MeaningEncoder
from con360.records import Conditions, SaliencyMaps, TimeTrack, View, ViewpointClip, ViewTrack
from con360.sampling.settings import SamplerSettings
from con360.sampling.when import TimeGuideSettings
from con360.scenes import COLOURS, VOICES, Scene
from con360.sound.levels import to_mono
from con360.sound.mels import log_mel
from con360.viewpoint.basd import basd_maps
from con360.weights.find import control_file, model_folder
from con360.weights.load import load_joint_model
from train.evaluation.bench import saliency_maps, true_sound
from train.evaluation.probes import holds
from train.examples import MAP_HEIGHT, scene_of
from train.meaning.judge import load_judge

SECONDS = 2.0
# In turn, so that picture and sound share something in two of three scenes.
FOLLOWS: tuple[VoiceFollows, ...] = ("none", "colour", "shape")
# A voice is there with so much of the energy in all bands, a colour with so many of the pixels.
LEAST_ENERGY, LEAST_PIXELS = 0.05, 0.005
# A pixel is coloured where its strongest channel exceeds its weakest by so much.
LEAST_CHROMA = 0.25
MOST_APART = 0.35


def asked_scene(split: str, index: int) -> Scene:
    """Make scene number `index` of a split; what tells its voices changes from scene to scene."""
    return scene_of(split, index, FOLLOWS[index % len(FOLLOWS)])


@dataclass(frozen=True)
class Turned:
    """Dials that are turned: where (the control), when (a track), what (a guide, or a trained class vector)."""

    where: bool = True
    when: TimeTrack | None = None
    what: MeaningGuideSettings | None = None
    conditioned: bool = False


@dataclass(frozen=True)
class Subject:
    """The model under test, the encoder that guides it, and the judge of what came.

    Args:
        conditioned: the model with a trained class vector; None without one.
    """

    model: JointModel
    control: LoadedControl | None
    settings: SamplerSettings
    encoder: MeaningEncoder
    judge: MeaningEncoder
    conditioned: JointModel | None = None

    def track(self, scene: Scene) -> ViewTrack:
        """A still view at the first performer."""
        frames = self.model.clip_spec(SECONDS).num_frames
        return ViewTrack.still(View(float(scene.performers[0].yaw_at(SECONDS / 2))), frames)

    def clip(self, split: str, index: int, seed: int, turned: Turned) -> tuple[ViewpointClip, float]:
        """Generate a scene's clip; return it with its seconds."""
        scene, spec = asked_scene(split, index), self.model.clip_spec(SECONDS)
        track, method = self.track(scene), "" if self.control is None else self.control.saliency
        saliency = SaliencyMaps(saliency_maps(scene, spec, "truth", method), "truth")
        conditions = Conditions(saliency, basd_maps(track, MAP_HEIGHT), scene.caption(), when=turned.when)
        strengths = {"when": 0.0} if self.reads_tracks else {}
        model = self.conditioned if turned.conditioned else self.model
        assert model is not None  # rows without a model are not asked for
        began = time.perf_counter()
        made = generate(
            model, self.control if turned.where else None, conditions,
            replace(self.settings, seed=self.settings.seed + seed), seconds=SECONDS, strengths=strengths,
            when=TimeGuideSettings(), meaning=None if turned.what is None else Guiding(self.encoder, turned.what),
        )  # fmt: skip
        return made, time.perf_counter() - began

    def true_clip(self, scene: Scene) -> ViewpointClip:
        """Render the true picture, and the sound that the control was trained towards; without one, the downmix."""
        spec, track = self.model.clip_spec(SECONDS), self.track(scene)
        kind = "omni" if self.control is None else self.control.module.config.sound
        frames = scene.view_frames(track, self.model.picture_size_px, spec)
        return ViewpointClip(frames, spec.fps, true_sound(scene, track, spec, kind))

    @property
    def reads_tracks(self) -> bool:
        return self.control is not None and self.control.module.config.time_channels > 0

    def figures(self, clip: ViewpointClip, scene: Scene) -> dict[str, Any]:
        """Measure a clip: meaning by both encoders, voices by bands, colours by pixels, and what drift is told by."""
        caption = scene.caption().short
        return {
            "judge": meaning_values(self.judge, caption, clip),
            "guide": meaning_values(self.encoder, caption, clip),
            **voices(clip, scene),
            **colours(clip, scene, self.track(scene)),
            "embedding_v": _values(codec_video_embedding(encode_frames(self.model.vae_v, clip.frames))),
            "embedding_a": _values(
                codec_sound_embedding(encode_mel(self.model.vae_a, log_mel(to_mono(clip.sound).waveform))[0])
            ),
        }


def meaning_values(encoder: MeaningEncoder, caption: str, clip: ViewpointClip) -> dict[str, float]:
    """V and the three cosines of a clip by one encoder."""
    sound = to_mono(clip.sound)
    found = measure(encoder, [caption], clip.frames[None], clip.fps, sound.waveform, sound.sample_rate_hz)
    assert found.volume is not None and found.va is not None  # encoders here have one space
    return {"V": float(found.volume), "ta": float(found.ta), "tv": float(found.tv), "va": float(found.va)}


def voices(clip: ViewpointClip, scene: Scene) -> dict[str, float]:
    """Share of the named voices that are heard, and the energy of the weakest, over that of all bands."""
    names = list(VOICES)
    shares = band_classes(clip.sound, [VOICES[name].band_hz for name in names])
    named = [float(shares[names.index(p.voice)]) for p in scene.performers]
    return {"voices": sum(share > LEAST_ENERGY for share in named) / len(named), "weakest": min(named)}


def colours(clip: ViewpointClip, scene: Scene, track: ViewTrack) -> dict[str, float]:
    """Share of the colours in the view that are seen; every one must have its pixels in some frame."""
    view = track.views[0]
    wanted = {p.colour for p in scene.performers if holds(view, (p,), SECONDS / 2)}
    seen = {name for name, share in colour_shares(clip.frames).items() if share > LEAST_PIXELS}
    return {"colours": len(wanted & seen) / max(1, len(wanted))}


@torch.no_grad()
def colour_shares(frames: Tensor) -> dict[str, float]:
    """Largest share of a frame's pixels that are nearest to each of the shapes' colours, and near it."""
    palette = torch.tensor(list(COLOURS.values()))
    pixels = frames.permute(0, 2, 3, 1).flatten(1, 2)
    distance = (pixels[:, :, None] - palette).norm(dim=-1)
    vivid = pixels.amax(-1) - pixels.amin(-1) > LEAST_CHROMA
    nearest, least = distance.argmin(-1), distance.amin(-1)
    counted = vivid & (least < MOST_APART)
    return {
        name: float(((nearest == i) & counted).float().mean(dim=1).max()) for i, name in enumerate(COLOURS)
    }  # fmt: skip


def _values(embedding: Tensor) -> list[float]:
    return [round(float(value), 6) for value in embedding]


# The command ----------------------------------------------------------------------------------------------------------


def add_subject(add: Any) -> None:
    """Add the options of the model under test."""
    add("--out", type=Path, required=True, help="folder for results and table")
    add("--judge", type=Path, required=True, help="judge that `train.meaning.run judge` wrote")
    add("--encoder", type=Path, help="encoder that guides (default: the model's own)")
    add("--condition", type=Path, help="class vector of `train.meaning.condition`, over the same encoder")
    add("--model", default=BUILT_IN_MODEL, help=f"model name or folder (default: {BUILT_IN_MODEL})")
    add("--control", help="control file (default: the model's own)")
    add("--scenes", type=int, default=64, help="number of test scenes (default: 64)")
    add("--steps", type=int, help="sampler steps (default: the model's)")
    add("--minutes", type=float, help="stop before the next clip after so long (default: no limit)")


def subject_of(args: Any, told: bool = True) -> tuple[Subject, dict[str, Any]]:
    """Load what the options name; return it with what identifies its results.

    Args:
        told: False leaves the sampler without caption and control.

    Raises:
        InputError: a number, a file or a model that cannot be used, or a judge that guides.
    """
    if args.scenes < 1:
        raise InputError(f"{args.scenes} scenes were asked for; wanted 1 or more.")
    if not told and (args.control or args.condition):
        raise InputError("a sampler that is told nothing reads neither --control nor --condition; leave them out.")
    model = load_joint_model(model_folder(args.model))
    path = control_file(args.control, model_folder(args.model))
    control = None if path is None or not told else load_control(path)
    settings = default_settings(model, steps=args.steps)
    if not told:
        # The pass without a caption alone.
        settings = replace(settings, cfg_video=0.0, cfg_audio=0.0)
    encoder, judge = load_built_in(model, args.encoder), load_judge(args.judge, model)
    check_judge(Guiding(encoder), judge)
    request: Mapping[str, Any] = {
        "model": fingerprint(*model.backbones()), "settings": vars(settings), "seconds": SECONDS,
        "control": control and fingerprint(control.module), "encoder": fingerprint(encoder.network),
        "judge": fingerprint(judge.network), "condition": args.condition and args.condition.name,
    }  # fmt: skip
    own = None if args.condition is None else conditioned(model, args.condition, encoder)
    return Subject(model, control, settings, encoder, judge, own), dict(request)
