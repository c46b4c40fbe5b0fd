"""Write metrics.json as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.evaluation.row import Row, interval, number, table

# "sound", the distance of mean levels, is left out.
ROWS = (
    "s_kl", "s_kl_reverse", "picture", "sound_over_time", "energy_l1", "onset_accuracy", "onset_f_50ms",
    "onset_ap_50ms", "onset_ap_100ms", "kl", "is", "av_align", "gram", "text_sound", "clap", "loss_v", "loss_a",
)  # fmt: skip


RETIRED = (
    "The distance of mean levels is no row: a caption names its voices, so a model without maps reaches the same.\n"
)


def markdown(metrics: dict[str, Any], rows: Sequence[Row], before: Mapping[str, Row]) -> str:
    """Write the table, the details of the paired figures, and definitions.

    Args:
        rows: of the table. before: an earlier evaluation's by name.
    """
    parts = [
        "# Evaluation\n",
        f"{metrics['num_scenes']} paired scenes of the test split, model {metrics['request']['model']}, "
        f"{metrics['request']['steps']} steps, seed {metrics['request']['seed']}, saliency: "
        f"{metrics['request']['saliency']}. Baseline: {metrics['baseline_is']}. Intervals: 95 %, bootstrap over "
        "scenes.\n",
    ]
    if rows:
        parts += [table(rows, before), RETIRED]
    if "s_kl" in metrics:
        parts += [_paired(metrics), _frechet(metrics["frechet"])]
    parts.append(_definitions(metrics))
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


def _definitions(metrics: dict[str, Any]) -> str:
    lines = ["## What each figure is\n"]
    for key in ROWS:
        if "con360" in metrics.get(key, {}):
            figure = metrics[key]
            lines.append(f"- **{figure['name']}**: {figure['text']}. Source: {figure['source']}.")
    texts = [figure["text"] for figure in metrics.values() if isinstance(figure, dict) and "name" not in figure
             and "text" in figure]  # fmt: skip
    return "\n".join(lines + [f"- {text}." for text in texts]) + "\n"
