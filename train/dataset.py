"""What a training step reads: samples from procedural scenes or prepared shards, their order, and batches.

Order and chance belong to a sample's place in the run, not to a process: sample number p of a run is the same clip with
the same noise however many processes share the work, and a resumed run needs to know p alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.errors import InputError
from con360.media.files import atomic_path
from con360.models.codecs import encode_frames, encode_mel, log_mel
from con360.models.joint import JointModel
from con360.models.text import encode_captions
from con360.records import Progress
from con360.timing import ClipSpec
from train.examples import ESTIMATOR, make_example, rays_of, scene_of
from train.preparation.settings import TRUTH
from train.shards import Prepared, group_sizes, read_group, read_settings, shard_paths

# Row groups of shards that are shuffled together: enough to mix many clips, few enough to hold in memory.
WINDOW = 32


@dataclass(frozen=True)
class Sample:
    """One clip, encoded.

    Args:
        latents_v: `[T, 4, h, w]` half precision, scaled.
        latents_a: `[8, R, 16]` half precision, scaled, padded rows included.
        maps: `[T, 2, H, W]` uint8, 255 is 1: saliency and BASD.
        views: `[T, 3]` yaw, pitch and FoV in degrees.
        text_v: `[L, D]` half precision. text_a: `[D]` half precision, unit norm.
        caption: what the text says.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    views: Tensor
    text_v: Tensor
    text_a: Tensor
    caption: str


_TENSORS = ("latents_v", "latents_a", "maps", "views", "text_v", "text_a")


class Source(Protocol):
    """Clips by number. `groups` are runs of numbers that are cheap to read together."""

    @property
    def groups(self) -> Sequence[range]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def describe(self) -> dict[str, Any]:
        """For the training record: what the data is; `saliency` names the method of its maps."""
        ...


class ProceduralScenes:
    """The first `count` scenes of a split, rendered and encoded each time that one is asked for.

    Args:
        sound: `view` or `omni`.
        estimate_every: one clip in so many has estimated saliency, as users have; 0 is none.
    """

    def __init__(
        self, model: JointModel, split: str, count: int, spec: ClipSpec, sound: str = "view", estimate_every: int = 3
    ) -> None:
        self.model, self.split, self.count, self.spec = model, split, count, spec
        self.sound, self.estimate_every = sound, estimate_every
        self.groups = [range(i, i + 1) for i in range(count)]

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def __getitem__(self, index: int) -> Sample:
        model, spec = self.model, self.spec
        with_sound = self.sound == "view"
        example = make_example(
            self.split, index, num_frames=spec.num_frames, spec=spec, size=model.picture_size_px,
            with_sound=with_sound, estimated=self.estimate_every > 0 and index % self.estimate_every == 0,
        )  # fmt: skip
        waveform = example.waveform if with_sound else scene_of(self.split, index).foa(spec).waveform[0]
        text = encode_captions(model, [example.caption])
        return Sample(
            encode_frames(model.vae_v, example.frames).transpose(0, 1).half().cpu(),
            encode_mel(model.vae_a, log_mel(waveform[None]), spec.num_latent_rows_padded)[0].half().cpu(),
            (example.maps * 255).round().byte(),
            torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in example.track.views]),
            text.text_v[0].half().cpu(),
            text.text_a[0].half().cpu(),
            example.caption,
        )

    def describe(self) -> dict[str, Any]:
        return {"data": "procedural scenes", "split": self.split, "clips": self.count, "sound": self.sound,
                "saliency": ESTIMATOR, "estimated_saliency_every": self.estimate_every}  # fmt: skip

    def identity(self) -> str:
        """The same for the same request to the same encoders."""
        digest = hashlib.sha256(json.dumps([self.describe(), self.spec.seconds, self.model.picture_size_px]).encode())
        encoders = (self.model.vae_v, self.model.vae_a, self.model.text_encoder_v, self.model.text_encoder_a)
        for tensor in (t for module in encoders for t in module.state_dict().values()):
            digest.update(tensor.detach().flatten()[:64].cpu().double().numpy().tobytes())
        return digest.hexdigest()[:16]


class Cached:
    """Samples of another source in memory, and in a file for the next run: what does not change, once."""

    def __init__(self, source: ProceduralScenes, folder: Path, progress: Progress | None = None) -> None:
        self.source, self.groups = source, source.groups
        path = folder / f"{source.split}-{source.identity()}.safetensors"
        if not path.is_file():
            self._build(path, progress)
        self.tensors = load_file(path)

    def _build(self, path: Path, progress: Progress | None) -> None:
        samples = []
        for index in range(len(self.source)):
            samples.append(self.source[index])
            if progress is not None:
                progress(index + 1, len(self.source), "rendering scenes")
        with atomic_path(path) as temporary:
            stacked = {name: torch.stack([getattr(s, name) for s in samples]).contiguous() for name in _TENSORS}
            save_file(stacked, temporary)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        caption = scene_of(self.source.split, index).caption().short
        return Sample(**{name: self.tensors[name][index] for name in _TENSORS}, caption=caption)

    def describe(self) -> dict[str, Any]:
        return self.source.describe()


class PreparedShards:
    """A split of a folder that train/prepare.py made, by number.

    Raises:
        InputError: no such split, or clips of other lengths or pictures than the model's.
    """

    def __init__(self, model: JointModel, folder: str | Path, split: str, spec: ClipSpec, sound: str) -> None:
        self.folder, self.split, self.settings = Path(folder), split, read_settings(folder)
        self.places = [(path, i, n) for path in shard_paths(folder, split) for i, n in enumerate(group_sizes(path))]
        ends = np.cumsum([n for *_, n in self.places])
        self.groups = [range(int(end - n), int(end)) for end, (*_, n) in zip(ends, self.places, strict=True)]
        self._group_of = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)
        self.sound, self.length = sound, len(self._group_of)
        self._check(model, spec)

    def _check(self, model: JointModel, spec: ClipSpec) -> None:
        first = self._read(0)[0]
        shapes = model.latent_shapes(spec)
        c, T, h, w = shapes.video
        wanted = {"latents_v": (T, c, h, w), "latents_a": shapes.audio}
        for name, shape in wanted.items():
            got = tuple(getattr(first, name).shape)
            if got != shape:
                raise InputError(
                    f"{self.folder} holds {name} of shape {got}; this model at {spec.seconds:g} s wants {shape}. "
                    f"Set `seconds` as the data was prepared, or prepare it again for this model."
                )
        if first.sound_kind != self.sound:
            raise InputError(
                f"{self.folder} was prepared with the sound {first.sound_kind!r} and the control is to learn "
                f"{self.sound!r}; set sound={first.sound_kind}, or prepare the data again."
            )

    def _read_group(self, number: int) -> tuple[Prepared, ...]:
        path, index, _ = self.places[number]
        return read_group(path, index)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        number = int(self._group_of[index])
        row = self._read(number)[index - self.groups[number].start]
        return Sample(**{name: getattr(row, name) for name in _TENSORS}, caption=row.caption)

    def first(self, count: int) -> PreparedShards:
        """The same shards, of which only the first `count` clips are shown (validation, which asks by number)."""
        few = copy.copy(self)
        few.length = min(count, len(self))
        return few

    def describe(self) -> dict[str, Any]:
        return {"data": str(self.folder), "split": self.split, "clips": len(self), "sound": self.sound,
                "saliency": self._saliency}  # fmt: skip

    @property
    def _saliency(self) -> str:
        """Method of the maps; scenes with their truth count as what a user's scene is estimated by."""
        made_by = str(self.settings["saliency"])
        return ESTIMATOR if made_by == TRUTH else made_by

    def __getstate__(self) -> dict[str, Any]:
        # Reading processes start with an empty cache of their own.
        return {name: value for name, value in vars(self).items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read = lru_cache(maxsize=WINDOW)(self._read_group)


def epoch_order(groups: Sequence[range], seed: int, epoch: int, window: int = WINDOW) -> np.ndarray:
    """Each clip once: groups in random order, clips mixed within a window of groups that are read together.

    Groups of single clips are one window: a plain permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    if all(len(g) == 1 for g in groups):
        window = len(groups)
    shuffled = [groups[i] for i in rng.permutation(len(groups))]
    windows = (shuffled[i : i + window] for i in range(0, len(shuffled), window))
    return np.concatenate([rng.permutation(np.concatenate([np.asarray(g) for g in part])) for part in windows])


class Order:
    """Clip of each sample number of a run, over as many epochs as it takes."""

    def __init__(self, groups: Sequence[range], seed: int) -> None:
        self.groups, self.seed, self.size = groups, seed, sum(len(g) for g in groups)
        self._epoch = lru_cache(maxsize=2)(self._make)

    def _make(self, epoch: int) -> np.ndarray:
        return epoch_order(self.groups, self.seed, epoch)

    def clip(self, number: int) -> int:
        return int(self._epoch(number // self.size)[number % self.size])


def sample_numbers(start: int, batch: int, rank: int, processes: int) -> Iterator[list[int]]:
    """Numbers of the samples that one process works on, batch after batch: processes take turns by batches."""
    while True:
        first = start + rank * batch
        yield list(range(first, first + batch))
        start += processes * batch


@dataclass(frozen=True)
class Batch:
    """Samples as the networks read them: float32, on one device.

    Args:
        latents_v: `[B, 4, T, h, w]`. latents_a: `[B, 8, R, 16]`. maps: `[B, T, 2, H, W]` in [0, 1].
        rays: `[B, T, g, g, 3]` directions of the view.
        text_v: `[B, L, D]`. text_a: `[B, D]`.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    rays: Tensor
    text_v: Tensor
    text_a: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


def collate(samples: Sequence[Sample], grid: int) -> Batch:
    """Samples as one batch; `grid` is the control's `view_grid`."""
    rows = {name: torch.stack([getattr(s, name) for s in samples]).float() for name in _TENSORS}
    return Batch(
        rows["latents_v"].transpose(1, 2),
        rows["latents_a"],
        rows["maps"] / 255,
        rays_of(rows["views"], grid),
        rows["text_v"],
        rows["text_a"],
    )
