"""Write metrics.json as Markdown tables."""

from __future__ import annotations

from typing import Any

ROWS = (
    "s_kl", "s_kl_reverse", "picture", "sound", "sound_over_time", "energy_l1", "onset_accuracy", "onset_f_50ms",
    "onset_ap_50ms", "onset_ap_100ms", "kl", "is", "av_align", "gram", "text_sound", "clap", "loss_v", "loss_a",
)  # fmt: skip


def markdown(metrics: dict[str, Any]) -> str:
    """Write all of `metrics.json`: paired figures, probes, definitions."""
    parts = [
        "# Evaluation\n",
        f"{metrics['num_scenes']} paired scenes of the test split, model {metrics['request']['model']}, "
        f"{metrics['request']['steps']} steps, seed {metrics['request']['seed']}, saliency: "
        f"{metrics['request']['saliency']}. Baseline: {metrics['baseline_is']}. Intervals: 95 %, bootstrap over "
        "scenes.\n",
    ]
    if "s_kl" in metrics:
        parts += [_paired(metrics), _frechet(metrics["frechet"])]
    parts += [_probes(metrics), _definitions(metrics)]
    return "\n".join(part for part in parts if part)


def _paired(metrics: dict[str, Any]) -> str:
    lines = [
        "## Paired with the scene's own target\n",
        "Floor: the target through the codecs. Ceiling: the next scene's target. Ratio: ours to baseline; above the "
        "floor: both less the floor.\n",
        "| figure | baseline | con360 | interval | floor | ceiling | target | ratio | above the floor | N |"
        " checkpoint |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in ROWS:
        figure = metrics.get(key)
        if figure is None or "con360" not in figure:
            continue
        arrow = {"lower": " ↓", "higher": " ↑"}.get(figure["better"], "")
        unit = f", {figure['unit']}" if figure.get("unit") else ""
        cells = [
            f"{figure['name']}{unit}{arrow}",
            *(number(figure.get(w)) for w in ("baseline", "con360")),
            interval(figure.get("interval")),
            *(number(figure.get(w)) for w in ("floor", "ceiling", "target")),
            *(
                f"{number(figure.get(r))} {interval(figure.get(f'{r}_interval'))}"
                for r in ("ratio", "ratio_above_floor")
            ),
            str(figure["n"]),
            figure["checkpoint"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    missing = [f"- {name}: not measured, {why}" for name, why in metrics.get("not_measured", {}).items()]
    return "\n".join([*lines, "", *missing, ""])


def _frechet(figures: dict[str, Any]) -> str:
    lines = [
        "## Distances between sets\n",
        "In miniature these mostly measure the number of samples and the marginals: they must not be worse than the "
        "baseline's, no more.\n",
        "| distance | baseline | con360 | interval | floor | N | checkpoint |",
        "|---|---|---|---|---|---|---|",
    ]
    for figure in figures.values():
        if "con360" not in figure:
            lines.append(f"| {figure['text']} | not measured: {figure['not_measured']} | | | | | |")
            continue
        values = [number(figure[w]) for w in ("baseline", "con360")]
        around, floor = interval(figure["interval"]), number(figure["floor"])
        cells = [figure["text"], *values, around, floor, str(figure["n"]), figure["checkpoint"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _probes(metrics: dict[str, Any]) -> str:
    lines = ["## Probes\n", "| probe | ours | interval | beside it | N |", "|---|---|---|---|---|"]
    turn, level = metrics.get("turn"), metrics.get("off_screen", {})
    if turn:
        beside = (
            f"baseline {percent(turn['baseline_fraction'])}, chance {percent(turn['chance'])}, true views through the "
            f"VAE {percent(turn['true_views_through_vae_fraction'])}"
        )
        ours, around = percent(turn["best_of_12_fraction"]), interval(turn["best_of_12_fraction_interval"])
        lines.append(f"| turn: true view best of 12 | {ours} | {around} | {beside} | {turn['num_views']} views |")
    if "level_abs_db_median" in level:
        beside = (
            f"without BASD {number(level['level_abs_db_median_no_basd'])} dB, true sound through the codecs "
            f"{number(level['level_abs_db_median_codecs'])} dB, ours against that "
            f"{number(level['level_abs_db_median_behind_codecs'])} dB; each source's mean subtracted: "
            f"{number(level['followed_abs_db_median'])} dB, without BASD "
            f"{number(level['followed_abs_db_median_no_basd'])} dB; slope {number(level['slope'])}"
        )
        ours = f"{number(level['level_abs_db_median'])} dB"
        around = interval(level["level_abs_db_median_interval"])
        lines.append(
            f"| off-screen level, median error | {ours} | {around} | {beside} | {level['level_num_sources']} sources |"
        )
    presence = level.get("presence", {})
    if presence.get("num_scenes"):
        inside = percent(presence["picture_inside_seed_interval_fraction"])
        beside = (
            f"caption only {number(presence['caption_only_db'])} dB; picture inside the seeds' interval in {inside}"
        )
        ours = f"{number(presence['maps_and_caption_db'])} dB"
        around = interval(presence["maps_and_caption_db_interval"])
        lines.append(
            f"| off-screen presence, change of level | {ours} | {around} | {beside} | {presence['num_scenes']} |"
        )
    crossing, moving = metrics.get("entry_exit"), metrics.get("moving_view")
    if crossing:
        ours, base, codecs = (crossing[w] for w in ("con360", "baseline", "codecs"))
        beside = (
            f"in time {percent(ours['in_time_fraction'])}, sound unbroken {percent(ours['sound_unbroken_fraction'])}; "
            f"baseline {percent(base['fraction'])}, true clip through the codecs {percent(codecs['fraction'])}"
        )
        around = interval(ours["interval"])
        lines.append(
            f"| entry and exit | {percent(ours['fraction'])} | {around} | {beside} | {crossing['num_scenes']} |"
        )
    if moving:
        ours, base = moving["con360"], moving["baseline"]
        beside = (
            f"baseline {percent(base['best_of_12_fraction'])}; follows rather than rests "
            f"{percent(ours['follows_fraction'])}, baseline {percent(base['follows_fraction'])}"
        )
        around = interval(ours["interval"])
        share = percent(ours["best_of_12_fraction"])
        lines.append(f"| moving view, frames | {share} | {around} | {beside} | {moving['num_frames']} frames |")
    return "\n".join([*lines, ""]) if len(lines) > 3 else ""


def _definitions(metrics: dict[str, Any]) -> str:
    lines = ["## What each figure is\n"]
    for key in ROWS:
        if "con360" in metrics.get(key, {}):
            figure = metrics[key]
            lines.append(f"- **{figure['name']}**: {figure['text']}. Source: {figure['source']}.")
    probes = (metrics.get(name) for name in ("turn", "entry_exit", "moving_view"))
    texts = [p["text"] for p in probes if p] + [
        text for text in (metrics.get("off_screen", {}).get("level_text"),) if text
    ]
    if "text" in metrics.get("off_screen", {}).get("presence", {}):
        texts.append(metrics["off_screen"]["presence"]["text"])
    return "\n".join(lines + [f"- {text}." for text in texts]) + "\n"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def interval(values: list[float] | None) -> str:
    return "" if values is None else f"[{number(values[0])}, {number(values[1])}]"
