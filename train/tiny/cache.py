"""Encode procedural scenes once; training then reads only latents and maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from con360.geometry.perspective import view_directions
from con360.geometry.sphere import directions
from con360.media.files import atomic_path
from con360.scenes import COLOURS, SHAPES, VOICES, voice_envelope
from con360.sound.views import VIEW_FRONT_GAIN, VIEW_OMNI_GAIN
from con360.timing import ClipSpec

from ..examples import ESTIMATOR, make_example, staging


def seen_performers(split: str, index: int, *, num_frames: int, spec: ClipSpec, grid: int) -> Tensor:
    """Label each part of an example's view by colour and shape: `[T, 2, grid, grid]` int64.

    Values are indices into `COLOURS` and `SHAPES`; the index past their end means no performer.
    """
    scene, full, kept = staging(split, index, num_frames, spec)
    labels = torch.empty(num_frames, 2, grid, grid, dtype=torch.int64)
    labels[:, 0], labels[:, 1] = len(COLOURS), len(SHAPES)
    for row, frame in enumerate(kept):
        view, time_s = full.views[frame], float(frame / spec.fps)
        rays = view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, grid)
        for p in scene.performers:
            inside = rays @ directions(p.yaw_at(time_s), p.pitch_deg).to(rays) > np.cos(
                np.radians(0.9 * p.radius_at(time_s))
            )
            labels[row, 0][inside] = list(COLOURS).index(p.colour)
            labels[row, 1][inside] = SHAPES.index(p.shape)
    return labels


def heard_voices(split: str, index: int, *, rows: int, row_seconds: float, spec: ClipSpec) -> Tensor:
    """Compute each voice's amplitude in an example's view sound: `[rows, voices]`, in the order of `VOICES`.

    A performer's own level is left out, because no condition tells it.

    Args:
        rows, row_seconds: number and length of the audio latent's rows; rows past the clip's end are silent.
    """
    scene, full, _ = staging(split, index, 1, spec)
    time_s = (np.arange(rows) + 0.5) * row_seconds
    frame = np.clip(np.rint(time_s * spec.fps), 0, spec.num_frames - 1).astype(int)
    towards = torch.stack([directions(v.yaw_deg, v.pitch_deg) for v in full.views])[frame]
    heard = torch.zeros(rows, len(VOICES))
    for p in scene.performers:
        cosine = (towards * directions(torch.from_numpy(p.yaw_at(time_s)), p.pitch_deg).to(towards)).sum(-1)
        envelope = torch.from_numpy(voice_envelope(p.voice, time_s, p.phase)).to(towards)
        heard[:, list(VOICES).index(p.voice)] = (VIEW_OMNI_GAIN + VIEW_FRONT_GAIN * cosine) * envelope
    heard[time_s >= spec.seconds] = 0
    return heard


@dataclass(frozen=True)
class Cache:
    """Hold latents and conditions of many examples in memory.

    Args:
        latents_v: `[N, T, 4, h, w]` half precision, scaled.
        latents_a: `[N, 8, R, 16]` half precision, scaled, padded rows included.
        maps: `[N, T, 2, H, W]` uint8, 255 is 1.
        views: `[N, T, 3]` yaw, pitch and FoV in degrees.
        captions: one per example.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    views: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


def build_cache(
    path: Path,
    encode_v: Callable[[Tensor], Tensor] | None,
    encode_a: Callable[[Tensor], Tensor] | None,
    *,
    split: str,
    count: int,
    first: int,
    num_frames: int,
    spec: ClipSpec,
    estimate_every: int = 3,
) -> Cache:
    """Render and encode `count` examples; if a file of the same request exists, read it instead.

    Args:
        encode_v: frames `[T, 3, s, s]` to scaled latents `[T, 4, h, w]`; None leaves the picture out (empty).
        encode_a: waveform `[1, N]` to scaled, padded latents `[1, 8, R, 16]`; None leaves the sound out (zeros).
        estimate_every: one in this many examples has estimated saliency, as users have; the others have the truth.
    """
    request = json.dumps([split, count, first, num_frames, spec.seconds, spec.fps, estimate_every, ESTIMATOR])
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            if file.metadata().get("request") == request:
                return load_cache(path)
    rows: dict[str, list[Tensor]] = {"latents_v": [], "latents_a": [], "maps": [], "views": []}
    captions = []
    for index in range(first, first + count):
        example = make_example(
            split, index, num_frames=num_frames, spec=spec, with_picture=encode_v is not None,
            with_sound=encode_a is not None, estimated=index % estimate_every == 0,
        )  # fmt: skip
        rows["latents_v"].append(encode_v(example.frames).half() if encode_v else torch.zeros(num_frames, 4, 0, 0))
        silent = torch.zeros(8, spec.num_latent_rows_padded, 16)
        rows["latents_a"].append((encode_a(example.waveform[None])[0] if encode_a else silent).half())
        rows["maps"].append((example.maps * 255).round().byte())
        rows["views"].append(torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in example.track.views]))
        captions.append(example.caption)
        if (index - first + 1) % 200 == 0:
            print(f"cache {path.name}: {index - first + 1}/{count}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        tensors = {name: torch.stack(values).contiguous() for name, values in rows.items()}
        save_file(tensors, temporary, metadata={"request": request, "captions": json.dumps(captions)})
    return load_cache(path)


def load_cache(path: Path) -> Cache:
    with safe_open(path, framework="pt") as file:
        captions = tuple(json.loads(file.metadata()["captions"]))
        return Cache(captions=captions, **{name: file.get_tensor(name) for name in file.keys()})


@dataclass(frozen=True)
class CacheBatch:
    """Hold rows of a `Cache` for one training step, with latents and maps as float32."""

    latents_v: Tensor  # [B, 4, T, h, w]
    latents_a: Tensor  # [B, 8, R, 16]
    maps: Tensor  # [B, T, 2, H, W]
    views: Tensor  # [B, T, 3]
    captions: tuple[str, ...]
    indices: Tensor  # [B], rows of the cache


def take(cache: Cache, indices: Sequence[int]) -> CacheBatch:
    """Take the examples of `indices` as one batch."""
    rows = torch.as_tensor(indices)
    return CacheBatch(
        cache.latents_v[rows].float().transpose(1, 2),
        cache.latents_a[rows].float(),
        cache.maps[rows].float() / 255,
        cache.views[rows],
        tuple(cache.captions[i] for i in rows.tolist()),
        rows,
    )


def batches(cache: Cache, batch_size: int, generator: torch.Generator) -> Iterator[CacheBatch]:
    """Yield shuffled batches without end; each epoch visits every example once."""
    while True:
        order = torch.randperm(len(cache), generator=generator)
        for start in range(0, len(cache) - batch_size + 1, batch_size):
            yield take(cache, order[start : start + batch_size].tolist())
