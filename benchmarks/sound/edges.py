"""Measure the ends of the built-in model's sounds beside the truth, and the peaks of clips after AAC."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from con360.control import LoadedControl, load_control
from con360.media.reader import read_sound
from con360.media.sound_coders import AAC_PEAK
from con360.media.writer import write_clip
from con360.models.codecs import MelCodec
from con360.models.joint import JointModel
from con360.pipeline import default_settings, generate
from con360.records import Conditions, Sound, View, ViewTrack
from con360.scenes import Scene, random_scene
from con360.sound.levels import omni_sound
from con360.sound.peaks import true_peak
from con360.timing import ClipSpec
from con360.viewpoint.basd import basd_maps
from con360.weights.find import control_file, model_folder
from con360.weights.load import load_joint_model

from .row import Row

SEED, MAP_HEIGHT = 900_000, 64
EDGE = 800  # samples at 16 kHz: 50 ms
WITHIN_DB = 1.0


def rows(quick: bool) -> list[Row]:
    """Rows of the table, each beside what the published decoding gives."""
    model, control = load_joint_model(model_folder()), load_control(control_file(None, model_folder()))
    scenes = [_scene(i, control.module.config.sound == "omni") for i in range(4 if quick else 32)]
    coded = "true mel through autoencoder and vocoder"
    return [
        *_edge_rows(model, coded, scenes, [_encoded(model, true) for *_, true in scenes]),
        # A pulse that comes late is lost at the end of one clip, and there twice in another: few clips say nothing.
        *([] if quick else _generated_rows(model, control, scenes)),
        *_peak_rows(),
    ]


def _scene(index: int, omni: bool) -> tuple[Scene, ViewTrack, Sound]:
    """A scene, a view of it, and the true sound of the kind that the control was trained towards."""
    scene, spec = random_scene(SEED + index), ClipSpec()
    track = ViewTrack.still(View(float(scene.performers[0].yaw_at(2.0))), spec.num_frames)
    return scene, track, omni_sound(scene.foa(spec)) if omni else scene.view_sound(track, spec)


def _generated_rows(
    model: JointModel, control: LoadedControl, scenes: list[tuple[Scene, ViewTrack, Sound]]
) -> list[Row]:
    latents = [_sampled(model, control, scene, track) for scene, track, _ in scenes]
    return _edge_rows(model, "generated, 12 steps", scenes, latents)


@torch.no_grad()
def _edge_rows(
    model: JointModel, name: str, scenes: list[tuple[Scene, ViewTrack, Sound]], latents: list[Tensor]
) -> list[Row]:  # fmt: skip
    spec = ClipSpec()
    codecs = (model.codecs.audio, MelCodec(model.vae_a, model.vocoder))
    sounds = [[codec.decode(z, spec).waveform for z in latents] for codec in codecs]
    found = []
    parts = {"first": (slice(0, EDGE), slice(EDGE, 2 * EDGE)), "last": (slice(-EDGE, None), slice(-2 * EDGE, -EDGE))}
    for end, (part, inner) in parts.items():
        mended, published = (_level_db(waves, scenes, part) for waves in sounds)
        # The sampler's own error: its pulses come at other times than the truth's.
        beside = _level_db(sounds[0], scenes, inner)
        found.append(Row(
            f"{end} 50 ms, {name}, {len(scenes)} scenes: level beside the truth", f"within {WITHIN_DB:g} dB",
            f"{mended:+.1f} dB (decoded as published {published:+.1f} dB; 50 ms further in {beside:+.1f} dB)",
            abs(mended) <= WITHIN_DB,
        ))  # fmt: skip
    return found


def _encoded(model: JointModel, true: Sound) -> Tensor:
    return model.codecs.audio.encode(true, ClipSpec())[0]


def _sampled(model: JointModel, control: LoadedControl, scene: Scene, track: ViewTrack) -> Tensor:
    """The sampler's own latents of a clip's sound."""
    spec, kept = ClipSpec(), []
    conditions = Conditions(scene.saliency(MAP_HEIGHT, spec), basd_maps(track, MAP_HEIGHT), scene.caption())
    generate(
        model, control, conditions, default_settings(model, seed=3),
        on_step=lambda step, total, x0: kept.append(x0.audio),
    )  # fmt: skip
    return kept[-1][0]


def _level_db(waves: list[Tensor], scenes: list[tuple[Scene, ViewTrack, Sound]], part: slice) -> float:
    """Power of a part of all waves over that of the truth."""
    made = sum(float(wave[:, part].square().mean()) for wave in waves)
    true = sum(float(sound.waveform[:, part].square().mean()) for *_, sound in scenes)
    return 10 * math.log10(made / true)


# Peaks ----------------------------------------------------------------------------------------------------------------


def _peak_rows() -> list[Row]:
    generator, worst, plain = torch.Generator().manual_seed(0), [], []
    t = torch.arange(48000, dtype=torch.float64)
    loud = {
        "noise": torch.randn(48000, generator=generator),
        "clipped noise": (3 * torch.randn(48000, generator=generator)).clamp(-1, 1),
        "a tone at a third of the rate": torch.sin(2 * math.pi * t / 3 + 0.6).float(),
        "clicks": (t % 4800 == 0).float(),
    }
    for rate in (16000, 48000):
        for wave in loud.values():
            wave = wave / wave.abs().max()
            worst.append(_coded_peak(wave, rate))
            # What one gain by the largest sample would leave between the samples.
            plain.append(true_peak(wave[None]) * AAC_PEAK)
    worst_db, plain_db = (20 * math.log10(max(peaks)) for peaks in (worst, plain))
    return [Row(
        f"true peak after AAC, {', '.join(loud)}, at 16 and 48 kHz", "0 dBFS at most",
        f"{worst_db:+.1f} dB (by the largest sample {plain_db:+.1f} dB before coding)", worst_db <= 0,
    )]  # fmt: skip


def _coded_peak(wave: Tensor, rate_hz: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "c.mp4", torch.zeros(8, 3, 16, 16), 8.0, Sound(wave[None], rate_hz))
        return true_peak(read_sound(Path(folder) / "c.mp4")[0].waveform)
