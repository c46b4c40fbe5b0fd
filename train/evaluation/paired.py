"""Compare each scene's clip with that scene's own true view and sound (paired figures).

Four clips are compared with the target: ours, the baseline's, the target through the codecs (the floor), and the next
scene's target (the ceiling).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from con360.metrics import audio, onsets, saliency, video
from con360.metrics.figure import Definition, bootstrap_interval, summary
from con360.metrics.frechet import frechet_distance
from con360.metrics.gram import gram_volume
from con360.metrics.sync import AV_ALIGN, av_align
from con360.models.codecs import encode_frames, encode_mel
from con360.records import Sound, ViewTrack
from con360.scenes import VOICES, Scene
from con360.sound.mels import log_mel
from con360.sound.onsets import find_onsets
from train.evaluation.bench import Bench, Clip, saliency_maps
from train.evaluation.judges import BAND_CLASSIFIER, Judges
from train.evaluation.part import Measured, Metrics, Part
from train.evaluation.row import Bar, Row, number
from train.examples import staging
from train.losses import Dropout, joint_loss

SECONDS = 4.0
SHOWN = 6
WHO = ("baseline", "con360", "floor", "ceiling")
BANDS_HZ = tuple(v.band_hz for v in VOICES.values())


def measure(bench: Bench, judges: Judges, index: int) -> Measured:
    """Measure all paired figures of test scene `index`; also return its clips, for the contact sheets."""
    scene, track, target = _target(bench, index)
    ours = bench.ask(scene, track, seed=index)
    con360, baseline = bench.generate([ours, replace(ours, use="caption")])
    clips = {
        "target": target, "baseline": baseline, "con360": con360, "floor": bench.through_codecs(target),
        "ceiling": _target(bench, index + 1)[2],
    }  # fmt: skip
    result: dict[str, Any] = {"index": index, "caption": ours.caption}
    target_saliency = saliency.saliency_of(target.frames, judges.saliency_method)
    for who in WHO:
        result[who] = _distances(clips[who], target, target_saliency, judges)
    for who in ("target", *WHO):
        result.setdefault(who, {}).update(_properties(bench, judges, clips[who], ours.caption))
    for who, ask in (("con360", ours), ("baseline", replace(ours, use="caption"))):
        result[who] |= _validation_losses(bench, ask, target, index)
    kept = {}
    if index < SHOWN:
        for who in ("target", "baseline", "con360"):
            kept[f"{who}.frames"] = (clips[who].frames * 255).round().byte()
            kept[f"{who}.sound"] = clips[who].sound.waveform
        kept["saliency"] = saliency_maps(scene, bench.spec(SECONDS), bench.saliency, bench.control.saliency)[:1].half()
    return result, kept


def _target(bench: Bench, index: int) -> tuple[Scene, ViewTrack, Clip]:
    """Stage a test scene as training stages its own; return its true clip, too."""
    spec = bench.spec(SECONDS)
    staged = staging("test", index, spec.num_frames, spec)
    return staged.seen, staged.track, bench.truth(staged.seen, staged.track, SECONDS)


def _distances(clip: Clip, target: Clip, target_saliency: Tensor, judges: Judges) -> dict[str, float]:
    """Compute the figures that compare a clip with the scene's own target."""
    maps = saliency.saliency_of(clip.frames, judges.saliency_method)
    found, wanted = find_onsets(clip.sound), find_onsets(target.sound)
    classes = [_classes(judges, c.sound) for c in (target, clip)]
    return {
        "s_kl": saliency.s_kl_of_maps(maps, target_saliency),
        "s_kl_reverse": saliency.s_kl_of_maps(maps, target_saliency, direction="target_to_generated"),
        "picture": video.picture_distance(clip.frames, target.frames),
        "sound": audio.sound_distance(clip.sound, target.sound),
        "sound_over_time": audio.log_mel_distance(clip.sound, target.sound),
        "energy_l1": audio.energy_l1(clip.sound, target.sound),
        "onset_accuracy": onsets.onset_count_matches(found, wanted),
        "onset_f_50ms": onsets.onset_score(found, wanted).f,
        "onset_ap_50ms": onsets.onset_average_precision(found, wanted, 0.05),
        "onset_ap_100ms": onsets.onset_average_precision(found, wanted, 0.1),
        "kl": audio.class_divergence(*classes),
    }


def _classes(judges: Judges, sound: Sound) -> np.ndarray:
    return judges.classifier(sound) if judges.classifier else audio.band_classes(sound, BANDS_HZ)


def _properties(bench: Bench, judges: Judges, clip: Clip, caption: str) -> dict[str, Any]:
    """Compute figures of a clip and its caption alone, and embeddings for the distances between sets."""
    picture, sound = bench.embeddings(clip)
    sentence = bench.text(bench.model, caption)[1][0]
    in_space = judges.space.of("picture", picture), judges.space.of("sound", sound)
    values: dict[str, Any] = {
        "av_align": av_align(clip.frames, 8.0, clip.sound),
        "gram": float(gram_volume(sentence, *in_space)),
        "text_sound": float(sentence @ in_space[1]),
        "embedding_v": picture.tolist(),
        "embedding_a": sound.tolist(),
        "classes": _classes(judges, clip.sound).tolist(),
    }
    if judges.clap is not None:
        vector = judges.clap.of_sound(clip.sound)
        values |= {"clap": float(vector @ judges.clap.of_text(caption)), "embedding_clap": vector.tolist()}
    if judges.i3d is not None:
        values["embedding_i3d"] = judges.i3d(clip.frames[None])[0].tolist()
    return values


@torch.no_grad()
def _validation_losses(bench: Bench, ask: Any, target: Clip, index: int) -> dict[str, float]:
    """Compute the training loss on the scene, with equal noise and timesteps with and without the maps."""
    spec = bench.spec(SECONDS)
    model = bench.baseline if ask.use == "caption" and bench.baseline is not None else bench.model
    x0 = (
        encode_frames(model.vae_v, target.frames)[None],
        encode_mel(model.vae_a, log_mel(target.sound.waveform), spec.num_latent_rows_padded),
    )
    losses = joint_loss(
        model.unet, (model.scheduler_v, model.scheduler_a), x0, bench.text(model, ask.caption),
        bench.film([ask], spec), Dropout(0, 0, 0, x0=1.0), torch.Generator().manual_seed(index),
        shared_noise=bench.settings.shared_noise,
    )  # fmt: skip
    return {"loss_v": float(losses[0]), "loss_a": float(losses[1])}


# Over scenes ----------------------------------------------------------------------------------------------------------


def definitions(judges: Judges) -> dict[str, Definition]:
    """Define each paired figure."""
    ap = "average precision of sound onsets ranked by strength, each target onset matched once, within {} ms"
    has_classifier = judges.classifier is not None
    return {
        "s_kl": saliency.definition("generated_to_target", judges.saliency_name),
        "s_kl_reverse": saliency.definition("target_to_generated", judges.saliency_name),
        "picture": video.PICTURE,
        "sound": audio.SOUND,
        "sound_over_time": audio.SOUND_OVER_TIME,
        "energy_l1": audio.ENERGY,
        "onset_accuracy": onsets.ONSET_COUNT,
        "onset_f_50ms": onsets.ONSET_F,
        "onset_ap_50ms": Definition("onset AP, 50 ms", ap.format(50), "CondFoleyGen", better="higher"),
        "onset_ap_100ms": Definition("onset AP, 100 ms", ap.format(100), "CondFoleyGen", better="higher"),
        "kl": Definition(
            "KL", "KL(target || generated) of sound classes, floored at 1e-6", "AudioLDM",
            judges.classifier_name if has_classifier else BAND_CLASSIFIER, "nats",
        ),
        "av_align": AV_ALIGN,
        "gram": Definition(
            "GRAM volume", "volume of caption's, sound's and picture's unit vectors; sound and picture mapped linearly "
            "onto the bundle's sentence embedding", "GRAM, arXiv 2412.11959", judges.space.name,
        ),
        "text_sound": Definition(
            "caption-sound cosine", "cosine of caption and sound in the space of GRAM's row; not the CLAP score",
            "ours", judges.space.name, better="higher",
        ),
        "clap": Definition(
            "CLAP score", "cosine of caption and sound, 48 kHz", "LAION-CLAP", judges.clap.name if judges.clap else "",
            better="higher",
        ),
        "loss_v": Definition("validation loss, picture", "squared error of one noised step", "ours"),
        "loss_a": Definition("validation loss, sound", "squared error of one noised step", "ours"),
    }  # fmt: skip


def reduce(rows: list[dict[str, Any]], judges: Judges) -> Metrics:
    """Build the paired part of `metrics.json`."""
    figures = {}
    for name, definition in definitions(judges).items():
        if any(name in row["con360"] for row in rows):
            figures[name] = compare(rows, name, definition)
    figures["is"] = _inception(rows, judges)
    return {"num_scenes": len(rows), **figures, "frechet": _frechet(rows, judges)}


def compare(rows: list[dict[str, Any]], name: str, definition: Definition) -> dict[str, Any]:
    """Compare baseline, ours, floor and ceiling in one figure, with ratios; intervals are over scenes."""
    columns = {who: [row[who].get(name, math.nan) for row in rows if who in row] for who in ("target", *WHO)}
    means = {who: summary(definition, values) for who, values in columns.items()}
    figure: dict[str, Any] = {who: means[who]["value"] for who in WHO}
    figure["interval"] = means["con360"]["interval"]
    figure["intervals"] = {who: means[who]["interval"] for who in WHO}
    figure["n"] = means["con360"]["n"]
    if means["target"]["value"] is not None:
        figure["target"] = means["target"]["value"]
    if definition.better == "lower" and means["floor"]["value"] is not None:
        table = np.array([columns[who] for who in ("con360", "baseline", "floor")], dtype=float).T
        table = table[np.isfinite(table).all(1)]
        for key, statistic in (("ratio", _ratio), ("ratio_above_floor", _ratio_above_floor)):
            figure[key] = _finite(statistic(table))
            figure[f"{key}_interval"] = bootstrap_interval(table, statistic)
    return figure | {k: means["con360"][k] for k in ("name", "text", "source", "checkpoint", "unit", "better")}


def _ratio(table: np.ndarray) -> float:
    con360, baseline, _ = table.mean(0)
    return con360 / baseline if baseline else math.nan


def _ratio_above_floor(table: np.ndarray) -> float:
    con360, baseline, floor = table.mean(0)
    return (con360 - floor) / (baseline - floor) if baseline > floor else math.nan


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _inception(rows: list[dict[str, Any]], judges: Judges) -> dict[str, Any]:
    name = judges.classifier_name if judges.classifier else BAND_CLASSIFIER
    figure: dict[str, Any] = {
        "name": "IS", "text": "Inception score of sound classes", "source": "arXiv 1606.03498", "checkpoint": name,
        "better": "higher", "n": len(rows), "unit": "",
    }  # fmt: skip
    for who in ("target", *WHO):
        figure[who] = audio.inception_score(np.array([row[who]["classes"] for row in rows]))
    classes = np.array([row["con360"]["classes"] for row in rows])
    return figure | {"interval": bootstrap_interval(classes, audio.inception_score, resamples=300)}


FRECHET = {
    "fad": ("embedding_clap", "FAD, CLAP 48 kHz"),
    "fvd": ("embedding_i3d", "FVD, I3D logits, 224 px"),
    "fad_tiny": ("embedding_a", "FAD over the tiny bundle's own mel VAE latents"),
    "fvd_tiny": ("embedding_v", "FVD over the tiny bundle's own picture VAE latents"),
}


def _frechet(rows: list[dict[str, Any]], judges: Judges) -> dict[str, Any]:
    """Compute distances between the sets of targets and clips; for such small sets, set size dominates them."""
    names = {"embedding_clap": judges.clap.name if judges.clap else "", "embedding_i3d": judges.i3d_name}
    result: dict[str, Any] = {}
    for key, (column, text) in FRECHET.items():
        sets = _sets(rows, (column,))
        result[key] = _set_distances(sets, text, names.get(column, "con360-tiny VAE, mean and spread"))
    real = all(name for name in names.values())
    pair = ("embedding_clap", "embedding_i3d") if real else ("embedding_a", "embedding_v")
    checkpoint = " + ".join(names.values()) if real else "con360-tiny VAEs, mean and spread"
    text = "Frechet distance over sound and picture embeddings, one behind the other"
    result["favd" if real else "favd_tiny"] = _set_distances(_sets(rows, pair), text, checkpoint)
    return result


def _sets(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    if not all(column in row["con360"] for row in rows for column in columns):
        return None
    return {
        who: np.array([np.concatenate([row[who][column] for column in columns]) for row in rows])
        for who in ("target", *WHO)
    }


def _set_distances(sets: dict[str, np.ndarray] | None, text: str, checkpoint: str) -> dict[str, Any]:
    if sets is None:
        return {"text": text, "not_measured": "no local checkpoint was given (--clap FOLDER, --i3d FILE)"}
    n = len(sets["target"])
    figure: dict[str, Any] = {
        "text": f"{text}; N - 1 covariance",
        "checkpoint": checkpoint,
        "n": n,
        "source": "FAD, FVD, PEAVS",
    }
    if n < 2:
        return figure | {"not_measured": "a Frechet distance needs two scenes or more"}
    # No ceiling: the next scenes' targets form the same set.
    for who in ("baseline", "con360", "floor"):
        figure[who] = frechet_distance(sets[who], sets["target"])
    both = np.stack([sets["con360"], sets["target"]], axis=1)
    figure["interval"] = bootstrap_interval(both, lambda s: frechet_distance(s[:, 0], s[:, 1]), resamples=200)
    worse = np.stack([sets["con360"], sets["baseline"], sets["target"]], axis=1)
    figure["con360_minus_baseline_interval"] = bootstrap_interval(
        worse, lambda s: frechet_distance(s[:, 0], s[:, 2]) - frechet_distance(s[:, 1], s[:, 2]), resamples=200
    )
    return figure


# The table ------------------------------------------------------------------------------------------------------------


def table_rows(metrics: Metrics) -> list[Row]:
    """Give the figures that have a mark, as ratios to the baseline."""
    if "s_kl" not in metrics:
        return []
    n = f"{metrics['num_scenes']} scenes"
    return [
        _ratio_row(metrics["s_kl"], "ratio", "S_KL, ratio to the baseline", Bar(better="lower"), n),
        _ratio_row(metrics["picture"], "ratio_above_floor", "picture above the floor, ratio", Bar(better="lower"), n),
        _ratio_row(
            metrics["sound_over_time"], "ratio_above_floor", "sound over time above the floor, ratio", Bar(high=0.5), n
        ),
    ]


def _ratio_row(figure: Metrics, key: str, name: str, bar: Bar, n: str) -> Row:
    said = "; ".join(f"{who} {number(figure[who])}" for who in ("con360", *WHO[:1], *WHO[2:]))
    unit = f", {figure['unit']}" if figure["unit"] else ""
    return Row(name, figure[key], around=figure[f"{key}_interval"], bar=bar, baseline=1.0, beside=f"{said}{unit}", n=n)


PART = Part(
    "paired", lambda tools, index: measure(tools.bench, tools.judges(), index),
    lambda tools, found: reduce(found, tools.judges()), table_rows, share=0.5,
)  # fmt: skip
