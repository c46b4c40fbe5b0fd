"""Procedural 360° audio-visual scenes whose truth is known.

A scene is two to four coloured shapes on the sphere before a sky and a ground. Each shape has a voice and pulses with
it, so that picture, sound, caption, saliency and spatial sound all follow from one seed. Voices occupy disjoint
bands, so that a test can measure each performer's level in a mixed recording.

Convention: world axes x right, y up, z forward (see `geometry/sphere.py`); yaw right-positive, degrees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .choices import VOICE_FOLLOWS, VoiceFollows
from .errors import InputError
from .geometry.erp import erp_directions
from .geometry.perspective import view_directions
from .geometry.sphere import directions as sphere_directions
from .records import PanoramaClip, SaliencyMaps, SceneCaption, Sound, ViewTrack
from .sound.ambisonics import encode
from .sound.views import view_sound
from .timing import ClipSpec

COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "yellow": (0.98, 0.86, 0.10),
    "green": (0.10, 0.72, 0.20),
    "cyan": (0.10, 0.85, 0.92),
    "blue": (0.12, 0.22, 0.92),
    "magenta": (0.92, 0.15, 0.80),
}
SHAPES = ("disc", "square", "triangle", "ring")
# Zenith and horizon colours of the sky; near and far colours of the ground.
SKIES = {
    "clear": ((0.30, 0.50, 0.80), (0.75, 0.85, 0.95)),
    "dusk": ((0.30, 0.22, 0.45), (0.95, 0.70, 0.50)),
    "night": ((0.02, 0.03, 0.10), (0.15, 0.18, 0.30)),
}
GROUNDS = {
    "sand": ((0.62, 0.52, 0.36), (0.80, 0.70, 0.52)),
    "stone": ((0.28, 0.28, 0.30), (0.50, 0.50, 0.52)),
    "moss": ((0.16, 0.26, 0.16), (0.35, 0.45, 0.33)),
}
DIRECTION_WORDS = (
    "in front", "on the front right", "on the right", "on the back right",
    "behind", "on the back left", "on the left", "on the front left",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A kind of sound: its verb in captions, its band and its rhythm.

    Args:
        verb: third person, as captions use it.
        band_hz: lowest and highest frequency that it occupies; the bands of all voices are disjoint.
        rate_hz: pulses per second.
    """

    verb: str
    band_hz: tuple[float, float]
    rate_hz: float


VOICES = {
    "hum": Voice("hums", (100.0, 650.0), 1.0),
    "beep": Voice("beeps", (750.0, 1150.0), 2.0),
    "bell": Voice("rings", (1300.0, 2200.0), 1.0),
    "chirp": Voice("chirps", (2300.0, 3900.0), 1.5),
    "tick": Voice("ticks", (4800.0, 7400.0), 4.0),
}


# Where a voice follows its performer's colour or shape: one of each. There are four shapes, so the bell has none.
COLOUR_OF = {"hum": "red", "beep": "blue", "bell": "cyan", "chirp": "green", "tick": "yellow"}
SHAPE_OF = {"hum": "disc", "beep": "square", "chirp": "triangle", "tick": "ring"}


def _smooth_gate(phase: np.ndarray, duty: float, edge: float) -> np.ndarray:
    """Gate: 1 inside the first `duty` of each period, 0 outside, with raised-cosine edges of length `edge`."""
    rise = np.clip(phase / edge, 0, 1)
    fall = np.clip((duty - phase) / edge, 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall))


def _position(voice: str, time_s: np.ndarray, phase: float, rate_hz: float | None) -> np.ndarray:
    """Place within the voice's period, in [0, 1)."""
    return (time_s * (VOICES[voice].rate_hz if rate_hz is None else rate_hz) + phase) % 1.0


def voice_envelope(voice: str, time_s: np.ndarray, phase: float, rate_hz: float | None = None) -> np.ndarray:
    """Compute a voice's loudness over time, in [0, 1]; the shape pulses with the same curve."""
    position = _position(voice, time_s, phase, rate_hz)
    if voice == "hum":
        return 0.6 - 0.4 * np.cos(2 * np.pi * position)
    if voice == "bell":
        return np.exp(-position / 0.35) * _smooth_gate(position, 1.0, 0.01)
    duty = {"beep": 0.5, "chirp": 0.6, "tick": 0.16}[voice]
    return _smooth_gate(position, duty, 0.1 * duty if voice == "tick" else 0.06)


def voice_waveform(voice: str, time_s: np.ndarray, phase: float, rate_hz: float | None = None) -> np.ndarray:
    """Synthesise a voice's mono waveform at times `time_s` (seconds), peak about 0.25.

    Every partial is a multiple of 100 Hz with a fixed phase at time 0. A mel frame is 10 ms, so each partial has the
    same phase at every frame. So the waveform is a function of its mel spectrogram, and a small vocoder can learn it
    exactly. (A convolution answers a constant input with a signal that repeats at the frame rate; no convolution can
    make a steady 170 Hz tone.)
    """

    def tones(partials: Iterable[tuple[float, float]]) -> np.ndarray:
        return sum(a * np.sin(2 * np.pi * f * time_s + 0.37 * (f / 100.0) ** 2) for f, a in partials)

    if voice == "hum":
        carrier = tones(((200.0, 0.6), (400.0, 0.3), (600.0, 0.15)))
    elif voice == "beep":
        carrier = tones(((900.0, 1.0),))
    elif voice == "bell":
        carrier = tones(((1500.0, 0.7), (2000.0, 0.35)))
    elif voice == "chirp":
        # A rise in seven steps within each pulse, as a fast arpeggio.
        position = _position(voice, time_s, phase, rate_hz)
        step = np.minimum(position / 0.6 * 7, 6).astype(int)
        carrier = np.sin(2 * np.pi * (2400.0 + 200.0 * step) * time_s)
    else:  # tick: a dense cluster of partials, noise to the ear
        carrier = tones((f, 0.25) for f in np.arange(5000.0, 7300.0, 100.0))
    return 0.25 * carrier * voice_envelope(voice, time_s, phase, rate_hz)


@dataclass(frozen=True)
class Performer:
    """A sounding shape.

    Args:
        colour, shape, voice: keys of `COLOURS`, `SHAPES`, `VOICES`.
        yaw_deg, pitch_deg: direction at time 0.
        yaw_rate_deg_s: constant angular speed, right-positive.
        radius_deg: angular radius at rest.
        phase: position within the voice's period at time 0, in [0, 1).
        level: linear gain of the voice.
        rate_hz: pulses per second; None is the voice's own rate.
    """

    colour: str
    shape: str
    voice: str
    yaw_deg: float
    pitch_deg: float = 0.0
    yaw_rate_deg_s: float = 0.0
    radius_deg: float = 16.0
    phase: float = 0.0
    level: float = 1.0
    rate_hz: float | None = None

    def yaw_at(self, time_s: float | np.ndarray) -> float | np.ndarray:
        return (self.yaw_deg + self.yaw_rate_deg_s * time_s + 180.0) % 360.0 - 180.0

    def envelope_at(self, time_s: float) -> float:
        return float(voice_envelope(self.voice, np.asarray([time_s]), self.phase, self.rate_hz)[0])

    def mono(self, time_s: np.ndarray) -> np.ndarray:
        """Synthesise the performer's sound at times `time_s` (seconds)."""
        return self.level * voice_waveform(self.voice, time_s, self.phase, self.rate_hz)

    def radius_at(self, time_s: float) -> float:
        return self.radius_deg * (0.85 + 0.35 * self.envelope_at(time_s))

    @property
    def phrase(self) -> str:
        sector = round(self.yaw_at(2.0) / 45.0) % 8
        return f"a {self.colour} {self.shape} {VOICES[self.voice].verb} {DIRECTION_WORDS[sector]}"


def _shape_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Measure the signed distance to a unit-radius shape in its tangent plane, positive inside."""
    if shape == "disc":
        return 1.0 - torch.hypot(x, y)
    if shape == "ring":
        return 0.28 - (torch.hypot(x, y) - 0.72).abs()
    if shape == "square":
        return 0.85 - torch.maximum(x.abs(), y.abs())
    return torch.minimum(0.55 + y, (1.0 - y) * 0.5 - x.abs() * 0.866)  # triangle, apex up


@dataclass(frozen=True)
class Scene:
    """A sky, a ground and performers; every modality is a function of it.

    Args:
        performers: two to four in a random scene, any number by hand.
        sky, ground: keys of `SKIES` and `GROUNDS`.
    """

    performers: tuple[Performer, ...]
    sky: str = "clear"
    ground: str = "sand"

    def without(self, index: int) -> Scene:
        """Remove one performer from the scene; nothing else changes."""
        return replace(self, performers=tuple(p for i, p in enumerate(self.performers) if i != index))

    def caption(self) -> SceneCaption:
        """Describe the scene in words, performers in clockwise order from the front."""
        ordered = sorted(self.performers, key=lambda p: p.yaw_at(2.0) % 360.0)
        phrases = ", ".join(p.phrase for p in ordered) or "nobody"
        short = f"{phrases}, under a {self.sky} sky over {self.ground}"
        return SceneCaption(short=short, long=f"A procedural 360° scene: {short}.", origin="scene")

    def render(self, directions: Tensor, time_s: float) -> Tensor:
        """Render the colours seen along directions.

        Args:
            directions: `[H, W, 3]` unit vectors.
            time_s: time within the scene.

        Returns:
            `[3, H, W]` in [0, 1].
        """
        up = directions[..., 1]
        image = _background(up, self.sky, self.ground)
        # Edges are one pixel of this picture soft, in any projection.
        pixel = math.sqrt(4 * math.pi / up.numel()) if directions.shape[1] == 2 * directions.shape[0] else None
        for performer in self.performers:
            image = _paint(image, directions, performer, time_s, pixel)
        return image

    def panorama(self, height: int, spec: ClipSpec | None = None) -> PanoramaClip:
        """Render frames `[T, 3, height, 2 * height]` with first-order Ambisonic sound."""
        spec = spec or ClipSpec()
        rays = erp_directions(height)
        frames = torch.stack([self.render(rays, t) for t in spec.frame_times_s()])
        notice = "a procedural sample scene, rendered and not filmed"
        return PanoramaClip(frames, spec.fps, self.foa(spec), source="procedural scene", notices=(notice,))

    def view_frames(self, track: ViewTrack, size: int, spec: ClipSpec | None = None) -> Tensor:
        """Render the true picture of a view directly: `[T, 3, h, w]`, its longer side `size` pixels."""
        spec = spec or ClipSpec()
        frames = []
        for view, time_s in zip(track.views, spec.frame_times_s(), strict=True):
            angles = (view.yaw_deg, view.pitch_deg, view.fov_deg)
            rays = view_directions(*angles, size, roll_deg=view.roll_deg, aspect=track.aspect)
            frames.append(self.render(rays, time_s))
        return torch.stack(frames)

    def foa(self, spec: ClipSpec | None = None) -> Sound:
        """Make the scene's sound as AmbiX: `[4, N]`, ACN, SN3D, at the clip's rate."""
        spec = spec or ClipSpec()
        time_s = np.arange(spec.num_samples) / spec.sample_rate_hz
        total = torch.zeros(4, spec.num_samples)
        for p in self.performers:
            mono = torch.from_numpy(p.mono(time_s)).float()
            yaw = torch.from_numpy(np.broadcast_to(p.yaw_at(time_s), time_s.shape).copy()).float()
            total = total + encode(mono, yaw, torch.full_like(yaw, p.pitch_deg))
        return Sound(total, spec.sample_rate_hz, "ambix")

    def view_sound(self, track: ViewTrack, spec: ClipSpec | None = None) -> Sound:
        """Make the true sound of a view: mono `[1, N]` through the wide virtual microphone."""
        spec = spec or ClipSpec()
        return view_sound(self.foa(spec), track, spec.fps)

    def saliency(self, height: int, spec: ClipSpec | None = None) -> SaliencyMaps:
        """Make true saliency: a Gaussian on each performer, wider and stronger when louder, maximum 1 per frame."""
        spec = spec or ClipSpec()
        rays = erp_directions(height)
        return SaliencyMaps(torch.stack([self.saliency_at(rays, t) for t in spec.frame_times_s()]), "scene truth")

    def saliency_at(self, rays: Tensor, time_s: float) -> Tensor:
        """Make true saliency along `rays [H, W, 3]` at one time: `[H, W]`, maximum 1."""
        total = torch.zeros(rays.shape[:2])
        for p in self.performers:
            centre = sphere_directions(p.yaw_at(time_s), p.pitch_deg)
            angle_sq = 2.0 * (1.0 - rays @ centre.to(rays)).clamp_min(0.0)
            # Pulsing draws the eye: the maps show it in and out of view.
            envelope = p.envelope_at(time_s)
            spread = math.radians(0.6 * p.radius_at(time_s))
            total = torch.maximum(total, (0.6 + 0.4 * envelope) * torch.exp(-angle_sq / (2 * spread**2)))
        peak = total.max()
        return total / peak if peak > 0 else torch.ones_like(total)


def _background(up: Tensor, sky: str, ground: str) -> Tensor:
    zenith, horizon = (torch.tensor(c).view(3, 1, 1) for c in SKIES[sky])
    near, far = (torch.tensor(c).view(3, 1, 1) for c in GROUNDS[ground])
    above = horizon + (zenith - horizon) * up.clamp(0, 1).sqrt()
    below = far + (near - far) * (-up).clamp(0, 1).sqrt()
    weight = torch.sigmoid(up / 0.01)
    return above * weight + below * (1 - weight)


def _paint(image: Tensor, rays: Tensor, performer: Performer, time_s: float, pixel: float | None) -> Tensor:
    yaw, pitch = performer.yaw_at(time_s), performer.pitch_deg
    forward = sphere_directions(yaw, pitch).to(rays)
    right = sphere_directions(yaw + 90.0, 0.0).to(rays)
    upward = sphere_directions(yaw, pitch + 90.0).to(rays)
    depth = rays @ forward
    radius = math.tan(math.radians(performer.radius_at(time_s)))
    safe = depth.clamp_min(1e-3) * radius
    x, y = (rays @ right) / safe, (rays @ upward) / safe
    distance = _shape_distance(performer.shape, x, y)
    # A view's pixel size follows from neighbouring rays, a panorama's from its area.
    step = (
        pixel
        or float((rays[0, 1] - rays[0, 0]).norm() + (rays[rays.shape[0] // 2, 1] - rays[rays.shape[0] // 2, 0]).norm())
        / 2
    )
    alpha = (distance * radius / step + 0.5).clamp(0, 1) * (depth > 0.05)
    brightness = 0.75 + 0.25 * performer.envelope_at(time_s)
    colour = torch.tensor(COLOURS[performer.colour]).view(3, 1, 1) * brightness
    return image * (1 - alpha) + colour * alpha


def random_scene(seed: int, voice_follows: VoiceFollows = "none") -> Scene:
    """Draw a scene from a seed: two to four performers at least 50° apart, all of different colour, shape and voice.

    Half of the scenes stand still and half turn slowly, so that a model learns both.

    Args:
        voice_follows: what tells a performer's voice: nothing, its colour or its shape (`COLOUR_OF`, `SHAPE_OF`).
            Where nothing does, no picture tells which performer makes which sound. Everything else stays as drawn.

    Raises:
        InputError: an unknown word.
    """
    if voice_follows not in VOICE_FOLLOWS:
        raise InputError(f"voice_follows is {voice_follows!r}; choose {', '.join(VOICE_FOLLOWS)}.")
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 5))
    yaws = _spread_yaws(rng, count, 50.0)
    colours, every_voice = rng.permutation(list(COLOURS))[:count], rng.permutation(list(VOICES))
    voices = every_voice[:count]
    shapes = rng.permutation(SHAPES)[:count]
    if voice_follows == "colour":
        colours = [COLOUR_OF[voice] for voice in voices]
    elif voice_follows == "shape":
        voices = [voice for voice in every_voice if voice in SHAPE_OF][:count]
        shapes = [SHAPE_OF[voice] for voice in voices]
    rate = 0.0 if rng.random() < 0.5 else float(rng.uniform(-12, 12))
    performers = tuple(
        Performer(
            str(colours[i]), str(shapes[i]), str(voices[i]), float(yaws[i]),
            pitch_deg=float(rng.uniform(-22, 22)), yaw_rate_deg_s=rate, radius_deg=float(rng.uniform(12, 20)),
            phase=float(rng.random()), level=float(rng.uniform(0.7, 1.0)),
        )
        for i in range(count)
    )  # fmt: skip
    return Scene(performers, str(rng.choice(list(SKIES))), str(rng.choice(list(GROUNDS))))


def _spread_yaws(rng: np.random.Generator, count: int, gap_deg: float) -> np.ndarray:
    # Exact, without rejection: random slack is distributed between the mandatory gaps.
    if count * gap_deg > 360:
        raise InputError(f"{count} performers do not fit on the circle with {gap_deg:g}° between them; ask for fewer.")
    slack = rng.dirichlet(np.ones(count)) * (360.0 - count * gap_deg)
    yaws = rng.uniform(0, 360) + np.cumsum(slack + gap_deg)
    return (yaws + 180.0) % 360.0 - 180.0


def demo_scene() -> Scene:
    """Make the scene of `con360 demo` and of the built-in sample: front, right, behind, left."""
    return Scene(
        (
            Performer("red", "disc", "hum", 0.0, 4.0, radius_deg=18.0),
            Performer("green", "triangle", "chirp", 95.0, -3.0, radius_deg=16.0, phase=0.3),
            Performer("blue", "square", "beep", 178.0, 2.0, radius_deg=16.0, phase=0.1),
            Performer("yellow", "ring", "tick", -88.0, 8.0, radius_deg=15.0, phase=0.6),
        ),
        sky="dusk",
        ground="stone",
    )


def is_scene_caption(text: str) -> bool:
    """Tell whether `Scene.caption` can write this caption, word for word."""
    verbs = [voice.verb for voice in VOICES.values()]
    colour, shape, verb, where, sky, ground = map("|".join, (COLOURS, SHAPES, verbs, DIRECTION_WORDS, SKIES, GROUNDS))
    one = f"a ({colour}) ({shape}) ({verb}) ({where})"
    return re.fullmatch(f"({one}(, {one})*|nobody), under a ({sky}) sky over ({ground})", text) is not None


def caption_vocabulary() -> tuple[str, ...]:
    """List every word of scene captions, sorted; the tiny bundle's tokenizers are made of them."""
    words = {"a", "an", "under", "sky", "over", "nobody", ","}
    words |= set(COLOURS) | set(SHAPES) | set(SKIES) | set(GROUNDS) | {v.verb for v in VOICES.values()}
    words |= {word for phrase in DIRECTION_WORDS for word in phrase.split()}
    return tuple(sorted(words))
