"""Draw the pictures beside the table: metrics with intervals, contact sheets, spectrograms, the turn."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from con360.errors import InputError
from con360.media.files import atomic_path
from con360.metrics.audio import mel_levels_db
from con360.records import Sound

# One colour per kind of row, the same in every picture.
ROWS = {
    "target": ("TRUE VIEW", "#1b7837"), "baseline": ("BASELINE\ncaption only", "#777777"),
    "con360": ("CON360-AV\nmaps and caption", "#c51b7d"),
}  # fmt: skip
BARS = {"s_kl": "S_KL", "picture": "picture", "sound_over_time": "log-mel"}
SHEET_FRAMES = 8


def metrics_plot(metrics: dict[str, Any], path: Path) -> None:
    """Plot the paired figures relative to the baseline, with intervals, floor and ceiling; and the turn."""
    plt = _pyplot()
    names = [name for name in BARS if metrics.get(name, {}).get("baseline")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(3, 2))
    for i, name in enumerate(names):
        row = metrics[name]
        for who, offset in (("floor", -0.3), ("con360", -0.1), ("baseline", 0.1), ("ceiling", 0.3)):
            colour = {"floor": "#a6dba0", "ceiling": "#dddddd"}.get(who) or ROWS[who][1]
            value, around = row[who] / row["baseline"], row["intervals"][who]
            left.bar(i + offset, value, 0.18, color=colour, label=who if i == 0 else None)
            if around:
                ends = [[value - around[0] / row["baseline"]], [around[1] / row["baseline"] - value]]
                left.errorbar(i + offset, value, np.maximum(ends, 0), color="black", capsize=2, linewidth=1)
    left.set_xticks(range(len(names)), [BARS[name] for name in names])
    left.set_ylabel("relative to the baseline (lower is better)")
    left.axhline(1.0, color="#777777", linewidth=0.8)
    if names:
        left.legend(fontsize=8)
    _shares(right, metrics)
    figure.suptitle(f"{metrics['num_scenes']} unseen scenes, 95 % intervals")
    _save(figure, path)


def _shares(axes: Any, metrics: dict[str, Any]) -> None:
    bars = []
    if "turn" in metrics:
        turn = metrics["turn"]
        bars += [("turn", turn["best_of_12_fraction"], "con360"), ("", turn["baseline_fraction"], "baseline")]
    for key, name, part in (("entry_exit", "entry/exit", "fraction"), ("moving", "moving", "best_of_12_fraction")):
        if key in metrics:
            bars += [(name, metrics[key]["con360"][part], "con360"), ("", metrics[key]["baseline"][part], "baseline")]
    for i, (_, value, who) in enumerate(bars):
        axes.bar(i, value or 0.0, color=ROWS[who][1])
    axes.set_xticks([i + 0.5 for i in range(0, len(bars), 2)], [name for name, _, who in bars if who == "con360"])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of views, crossings or frames")


def contact_sheet(shown: Sequence[tuple[dict[str, Any], dict[str, Tensor]]], path: Path) -> None:
    """Draw three labelled rows of frames per scene: the true view, the baseline, ours."""
    plt = _pyplot()
    lines = len(shown) * (len(ROWS) + 0.35)
    figure = plt.figure(figsize=(SHEET_FRAMES * 1.25 + 2.2, 1.32 * lines), facecolor="white")
    heights = [h for _ in shown for h in (0.35, *(1.0 for _ in ROWS))]
    grid = figure.add_gridspec(
        len(heights), SHEET_FRAMES, height_ratios=heights, hspace=0.08, wspace=0.06, left=0.15, right=0.99, top=0.99,
        bottom=0.01,
    )  # fmt: skip
    for s, (result, clips) in enumerate(shown):
        title = figure.add_subplot(grid[4 * s, :])
        title.axis("off")
        title.text(0, 0.25, f"scene {result['index']}: {result['caption']}", fontsize=8, wrap=True)
        for r, (who, (label, colour)) in enumerate(ROWS.items()):
            frames = clips[f"{who}.frames"]
            for c, t in enumerate(np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)):
                axes = figure.add_subplot(grid[4 * s + 1 + r, c])
                _picture(axes, frames[t], colour)
                if c == 0:
                    axes.set_ylabel(
                        label, color=colour, fontsize=9, fontweight="bold", rotation=0, ha="right", va="center"
                    )
    _save(figure, path)


def turn_sheet(shown: Sequence[tuple[dict[str, Any], dict[str, Tensor]]], path: Path) -> None:
    """Draw the twelve true views of each scene, with the generated ones below those chosen."""
    plt = _pyplot()
    figure, grid = plt.subplots(3 * len(shown), 12, figsize=(15, 3.9 * len(shown)), squeeze=False)
    for s, (result, clips) in enumerate(shown):
        rows = {"target": "true views", "con360": "con360", "baseline": "baseline"}
        for r, (who, name) in enumerate(rows.items()):
            label, colour = ROWS[who]
            for k in range(12):
                axes = grid[3 * s + r][k]
                at = k if who == "target" else result["chosen"].index(k) if k in result["chosen"] else None
                if at is None:
                    axes.axis("off")
                else:
                    _picture(axes, clips[name][0 if who == "baseline" else at], colour)
                if who != "target" and at is not None:
                    rank = result[who][at]
                    axes.set_title("best match" if rank == 1 else f"rank {rank}", fontsize=7, color=colour)
            grid[3 * s + r][0].text(
                -0.1, 0.5, label, color=colour, fontweight="bold", ha="right", va="center", fontsize=8,
                transform=grid[3 * s + r][0].transAxes,
            )  # fmt: skip
    figure.subplots_adjust(left=0.13, right=0.99, top=0.99, bottom=0.01, wspace=0.08, hspace=0.2)
    _save(figure, path)


def spectrograms(shown: Sequence[tuple[dict[str, Any], dict[str, Tensor]]], path: Path) -> None:
    """Draw log-mel spectrograms, one scene per row, on one scale."""
    plt = _pyplot()
    figure, grid = plt.subplots(
        len(shown), 3, figsize=(12, 2.1 * len(shown) + 0.6), squeeze=False, layout="constrained"
    )
    for row, (result, clips) in zip(grid, shown, strict=True):
        for axes, (who, (label, colour)) in zip(row, ROWS.items(), strict=True):
            levels = mel_levels_db(Sound(clips[f"{who}.sound"], 16000)).T.numpy()
            picture = axes.imshow(
                levels, origin="lower", aspect="auto", vmin=-60, vmax=0, cmap="magma", extent=(0, 4, 0, 64)
            )
            axes.set_title(label.replace("\n", ", "), color=colour, fontsize=9, fontweight="bold")
            axes.set_xlabel("seconds", fontsize=7)
        row[0].set_ylabel(f"scene {result['index']}\nmel band", fontsize=8)
    figure.colorbar(picture, ax=grid, label="dB")
    _save(figure, path)


def _picture(axes: Any, frame: Tensor, colour: str) -> None:
    axes.imshow(frame.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3)


def check_matplotlib() -> None:
    """Raise InputError if matplotlib is missing, before the measurements start."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError('the pictures need matplotlib, which is not installed; run pip install -e ".[train]".')


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot

    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    matplotlib.pyplot.close(figure)
