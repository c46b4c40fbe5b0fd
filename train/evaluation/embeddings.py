"""Map caption, sound and picture into one space, in place of CLAP or another joint model.

The common space is the bundle's sentence embedding. Sound and picture are mapped onto it by ridge regression from the
autoencoders' embeddings, fitted on true clips of training scenes. Everything was trained on procedural scenes, so the
figures have their own name and cannot be compared with published ones.

Source: CLAP (arXiv 2211.06687) for the shared space, GRAM (arXiv 2412.11959) for the measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.media.files import atomic_path
from train.evaluation.bench import Bench, Clip
from train.examples import make_example, staging

NAME = "con360-tiny linear"
FITTED_ON = 96
RIDGE = 1.0


@dataclass(frozen=True)
class JointSpace:
    """Hold linear maps `[D_in + 1, D]` of standardised embeddings onto sentences; statistics `[2, D_in]`."""

    maps: dict[str, Tensor]
    statistics: dict[str, Tensor]
    name: str = f"{NAME}, ridge {RIDGE:g} on {FITTED_ON} training clips"

    def of(self, kind: str, embedding: Tensor) -> Tensor:
        """Map an embedding from `Bench.embeddings` to `[D]`, unit norm; kind is "picture" or "sound"."""
        mean, scale = self.statistics[kind]
        # A picture's last entries are its changes between frames, which depend on the frame rate: leave them out.
        x = torch.cat(((embedding[: len(mean)] - mean) / scale, torch.ones(1)))
        return F.normalize(x @ self.maps[kind], dim=-1)


def fit(inputs: dict[str, Tensor], sentences: Tensor) -> JointSpace:
    """Fit a ridge regression of `[N, D_in]` onto `[N, D]` for each kind."""
    maps, statistics = {}, {}
    for kind, x in inputs.items():
        statistics[kind] = torch.stack((x.mean(0), x.std(0).clamp_min(1e-6)))
        x = torch.cat(((x - statistics[kind][0]) / statistics[kind][1], torch.ones(len(x), 1)), dim=1).double()
        gram = x.T @ x + RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
        maps[kind] = torch.linalg.solve(gram, x.T @ sentences.double()).float()
    return JointSpace(maps, statistics)


def joint_space(bench: Bench, path: Path) -> JointSpace:
    """Load the space of this bundle; fit it once per folder."""
    if not path.is_file():
        rows: dict[str, list[Tensor]] = {"picture": [], "sound": [], "sentence": []}
        spec = bench.spec(4.0)
        for index in range(FITTED_ON):
            e = make_example("train", index, num_frames=4, spec=spec, size=bench.size, with_sound=False)
            staged = staging("train", index, 4, spec)
            picture, sound = bench.embeddings(Clip(e.frames, bench.true_sound(staged.seen, staged.track, spec)))
            sentence = bench.text(bench.model, e.caption)[1][0]
            still = picture[: len(picture) * 8 // 9]
            for name, value in (("picture", still), ("sound", sound), ("sentence", sentence)):
                rows[name].append(value)
        table = {name: torch.stack(values).contiguous() for name, values in rows.items()}
        with atomic_path(path) as temporary:
            save_file(table, temporary)
    table = load_file(path)
    sentences = table.pop("sentence")
    return fit(table, sentences)
