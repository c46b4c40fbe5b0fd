"""Generate clips with the models under test: with the maps, with the caption alone, or without the BASD.

Each clip's noise comes from its own seed, so it does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from con360.control import Film, LoadedControl, encode_control
from con360.geometry.erp import erp_directions
from con360.metrics.audio import codec_sound_embedding
from con360.metrics.video import codec_video_embedding
from con360.models.codecs import decode_frames, encode_frames, encode_mel
from con360.models.joint import JointModel
from con360.models.text import encode_captions
from con360.pipeline import conditions_of, generate
from con360.protocols import Inputs
from con360.records import (
    AV,
    Conditions,
    PanoramaClip,
    SaliencyMaps,
    Sound,
    StartClip,
    Viewpoint,
    ViewpointClip,
    ViewTrack,
)
from con360.saliency.predict import clip_saliency
from con360.sampling.joint import Given, video_noise
from con360.sampling.settings import SAID, SamplerSettings
from con360.scenes import Scene
from con360.sound.levels import omni_sound
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from train.examples import MAP_HEIGHT

EMBEDDED_FRAMES = 8
# maps: saliency and BASD; caption: no control; saliency: control without the BASD, and so without a view.
Use = Literal["maps", "caption", "saliency"]
Saliency = Literal["truth", "estimated"]


@dataclass(frozen=True)
class Clip:
    """Hold frames `[T, 3, s, s]` in [0, 1] at 8 fps with mono sound."""

    frames: Tensor
    sound: Sound


@dataclass(frozen=True)
class Ask:
    """Describe a clip to generate. Of its conditions, use "caption" reads the caption alone."""

    conditions: Conditions
    seed: int
    use: Use = "maps"

    @property
    def caption(self) -> str:
        return self.conditions.caption.short


@dataclass
class Bench:
    """Hold the models under test.

    Args:
        model, control: ours. baseline: another model, which generates from the caption alone; None: ours, maps off.
        settings: of the sampler; its seed is added to each clip's.
        saliency: "truth", the scene's own, or "estimated" from its panorama, as users have it.
        batch: clips sampled together.
    """

    model: JointModel
    control: LoadedControl
    baseline: JointModel | None
    settings: SamplerSettings
    saliency: Saliency = "truth"
    batch: int = 2
    _texts: dict[tuple[int, str], AV] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.model.picture_size_px

    def spec(self, seconds: float) -> ClipSpec:
        return self.model.clip_spec(seconds)

    def ask(self, scene: Scene, track: ViewTrack, seed: int, use: Use = "maps", seconds: float = 4.0) -> Ask:
        """Ask for a clip of a scene, with its own caption and all that the control reads."""
        spec = self.spec(seconds)
        saliency = SaliencyMaps(saliency_maps(scene, spec, self.saliency, self.control.saliency), self.saliency)
        viewpoint = Viewpoint(0, None, track)
        conditions = conditions_of(
            scene_panorama(scene, spec), saliency, viewpoint, scene.caption(), control=self.control
        )
        return Ask(conditions, seed, use)

    def truth(self, scene: Scene, track: ViewTrack, seconds: float = 4.0) -> Clip:
        """Render the true picture of the view, and the true sound of the kind that the control was trained towards."""
        spec = self.spec(seconds)
        return Clip(scene.view_frames(track, self.size, spec), self.true_sound(scene, track, spec))

    def true_sound(self, scene: Scene, track: ViewTrack, spec: ClipSpec) -> Sound:
        """Make the scene's downmix, or what the view's microphone hears, as the control's file says."""
        return true_sound(scene, track, spec, self.control.module.config.sound)

    @torch.no_grad()
    def generate(self, asks: Sequence[Ask], seconds: float = 4.0) -> list[Clip]:
        """Generate the asked clips, in order; those with use "caption" come from the baseline."""
        clips: dict[int, Clip] = {}
        for own in (True, False):
            model = self.model if own or self.baseline is None else self.baseline
            rows = [i for i, a in enumerate(asks) if own == (a.use != "caption" or self.baseline is None)]
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch]
                clips |= zip(part, self._sample(model, [asks[i] for i in part], self.spec(seconds)), strict=True)
        return [clips[i] for i in range(len(asks))]

    def _sample(self, model: JointModel, asks: list[Ask], spec: ClipSpec) -> list[Clip]:
        texts = [self.text(model, a.caption) for a in asks]
        noise = [self._noise(model, a.seed, spec) for a in asks]
        inputs = Inputs(_batch(texts), self.text(model, self.settings.negative_prompt), self.film(asks, spec))
        latents = model.sample(inputs, spec, self.settings, given=Given(noise=_batch(noise)))
        return [decode(model, AV(v, a), spec) for v, a in zip(*latents, strict=True)]

    def clip(self, ask: Ask, seconds: float = 4.0, sound: Sound | None = None) -> ViewpointClip:
        """Generate an asked clip by the pipeline, with the directions of its sound where the control gives any.

        Args:
            sound: held; the picture alone is made for it.
        """
        settings = replace(self.settings, seed=self.settings.seed + ask.seed, hold=SAID.audio if sound else None)
        start = None if sound is None else StartClip(sound=sound)
        return generate(self.model, self.control, ask.conditions, settings, seconds=seconds, start=start)

    def _noise(self, model: JointModel, seed: int, spec: ClipSpec) -> AV:
        g, shapes = replace(self.settings, seed=self.settings.seed + seed).generator(), model.latent_shapes(spec)
        video = video_noise((1, *shapes.video), g, self.settings.shared_noise)
        return AV(video, torch.randn((1, *shapes.audio), generator=g))

    def text(self, model: JointModel, caption: str) -> AV:
        """Encode a caption; repeats come from a cache."""
        key = (id(model), caption)
        if key not in self._texts:
            features = encode_captions(model, [caption])
            self._texts[key] = AV(features.text_v, features.text_a)
        return self._texts[key]

    @torch.no_grad()
    def film(self, asks: Sequence[Ask], spec: ClipSpec) -> Film | None:
        """Compute the modulation of a batch; zeros, the identity, for use "caption"."""
        if all(a.use == "caption" for a in asks):
            return None
        shapes = self.model.site_shapes(spec)
        rows = [self._film_of(a, shapes, spec) for a in asks]
        return {site: tuple(torch.cat([row[site][i] for row in rows]) for i in (0, 1)) for site in shapes}

    def _film_of(self, ask: Ask, shapes: dict[str, tuple[int, ...]], spec: ClipSpec) -> Film:
        module = self.control.module
        nothing = {site: (_identity(site, shape),) * 2 for site, shape in shapes.items()}
        if ask.use == "caption":
            return nothing
        sites, strengths = shapes, {}
        if ask.use == "saliency":
            strengths = {"basd": 0.0}
            if module.config.geometry == "view":
                # Video sites read features resampled into the view, which would replace the BASD: leave them out.
                sites = {site: shape for site, shape in shapes.items() if not site.startswith("video")}
        film = encode_control(
            module, ask.conditions, sites, fps=spec.fps, audio_seconds=spec.latent_seconds_a, strengths=strengths
        )
        return nothing | (film or {})

    @torch.no_grad()
    def through_codecs(self, clip: Clip) -> Clip:
        """Encode and decode a clip: the best that any latents of this model can give."""
        frames = decode_frames(self.model.vae_v, encode_frames(self.model.vae_v, clip.frames))
        return Clip(frames, self.sound_through_codec(clip.sound))

    @torch.no_grad()
    def sound_through_codec(self, sound: Sound) -> Sound:
        """Encode and decode a sound."""
        codec, spec = self.model.codecs.audio, self.spec(sound.duration_s)
        return codec.decode(codec.encode(sound, spec)[0], spec)

    @torch.no_grad()
    def latents(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Encode a clip: latents of picture `[4, T, h, w]` and sound `[8, R, F]`, unpadded."""
        latents_v = encode_frames(self.model.vae_v, clip.frames)
        return latents_v, encode_mel(self.model.vae_a, log_mel(clip.sound.waveform))[0]

    @torch.no_grad()
    def embeddings(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Embed a clip by the model's own autoencoders: (picture `[36]`, sound `[64]`)."""
        # Eight frames give the same as all, in a quarter of the time.
        few = Clip(clip.frames[:: max(1, len(clip.frames) // EMBEDDED_FRAMES)], clip.sound)
        latents_v, latents_a = self.latents(few)
        return codec_video_embedding(latents_v), codec_sound_embedding(latents_a)


def _identity(site: str, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(1, *shape) if site.startswith("video") else torch.zeros(1, *shape[:2], 1)


def _batch(pairs: Sequence[AV]) -> AV:
    """Stack batches of one clip as one batch."""
    return AV(*(torch.cat(halves) for halves in zip(*pairs, strict=True)))


def decode(model: JointModel, latents: AV, spec: ClipSpec) -> Clip:
    """Decode the latents of one clip to frames and sound."""
    frames, sound = model.decode(latents, spec)
    assert frames is not None and sound is not None  # both latents are present
    return Clip(frames, sound)


def true_sound(scene: Scene, track: ViewTrack, spec: ClipSpec, kind: Literal["view", "omni"]) -> Sound:
    """Make the scene's downmix, or what the view's microphone hears."""
    return omni_sound(scene.foa(spec)) if kind == "omni" else scene.view_sound(track, spec)


@lru_cache(maxsize=4)
def scene_panorama(scene: Scene, spec: ClipSpec) -> PanoramaClip:
    """Render a scene as users load their clips, at twice the maps' height."""
    return scene.panorama(2 * MAP_HEIGHT, spec)


@lru_cache(maxsize=8)
def saliency_maps(scene: Scene, spec: ClipSpec, kind: Saliency, method: str) -> Tensor:
    """Return a scene's saliency `[T, 64, 128]`: the truth, or an estimate by a method of `predict_saliency`."""
    if kind == "truth":
        rays = erp_directions(MAP_HEIGHT)
        return torch.stack([scene.saliency_at(rays, t) for t in spec.frame_times_s()])
    maps = clip_saliency(scene_panorama(scene, spec), method).maps
    return torch.nn.functional.interpolate(maps[:, None], (MAP_HEIGHT, 2 * MAP_HEIGHT), mode="area")[:, 0]
