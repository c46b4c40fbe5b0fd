"""Encode procedural scenes once; training then reads only latents and maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from con360.geometry.perspective import view_directions
from con360.geometry.sphere import directions
from con360.media.files import atomic_path
from con360.scenes import COLOURS, SHAPES, VOICES
from con360.timing import ClipSpec

from ..examples import ESTIMATOR, PLAIN, Example, Shares, make_example, staging

# Examples of a file: what a killed run loses.
PIECE = 100


@dataclass(frozen=True)
class CacheSettings:
    """Name the examples of a cache: they are the same wherever it is built.

    Args:
        first, count: numbers of the training examples. num_frames: that each keeps; the sound is of the whole clip.
        estimate_every: one in this many examples has estimated saliency, as users have; the others have the truth.
        with_picture, with_sound: the other half is left out.
        shares: kinds of scenes and views.
    """

    first: int
    count: int
    num_frames: int
    estimate_every: int = 3
    with_picture: bool = True
    with_sound: bool = True
    shares: Shares = field(default_factory=lambda: PLAIN)

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


def seen_performers(settings: CacheSettings, index: int, *, spec: ClipSpec, grid: int) -> Tensor:
    """Label each part of a training example's view by colour and shape: `[T, 2, grid, grid]` int64.

    Values are indices into `COLOURS` and `SHAPES`; the index past their end means no performer.
    """
    staged = staging("train", index, settings.num_frames, spec, settings.shares)
    labels = torch.empty(settings.num_frames, 2, grid, grid, dtype=torch.int64)
    labels[:, 0], labels[:, 1] = len(COLOURS), len(SHAPES)
    for row, frame in enumerate(staged.kept):
        view, time_s = staged.track.views[frame], float(frame / spec.fps)
        rays = view_directions(view.yaw_deg, view.pitch_deg, view.fov_deg, grid)
        for p in staged.seen.performers:
            inside = rays @ directions(p.yaw_at(time_s), p.pitch_deg).to(rays) > np.cos(
                np.radians(0.9 * p.radius_at(time_s))
            )
            labels[row, 0][inside] = list(COLOURS).index(p.colour)
            labels[row, 1][inside] = SHAPES.index(p.shape)
    return labels


def heard_voices(settings: CacheSettings, index: int, *, rows: int, row_seconds: float, spec: ClipSpec) -> Tensor:
    """Compute each voice's amplitude in a training example's sound: `[rows, voices]`, in the order of `VOICES`.

    A performer's own level is left out, because no condition tells it.

    Args:
        rows, row_seconds: number and length of the audio latent's rows; rows past the clip's end are silent.
    """
    staged = staging("train", index, 1, spec, settings.shares)
    time_s = (np.arange(rows) + 0.5) * row_seconds
    heard = torch.zeros(rows, len(VOICES))
    for p in staged.heard.performers:
        heard[:, list(VOICES).index(p.voice)] = torch.from_numpy(p.envelope(time_s)).float()
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
        when: `[N, 4, S]` half precision, the sound's own time channels; zeros without sound.
        unaware: `[N]`, 1 where only `when` knows the sound's times.
        captions: one per example.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    views: Tensor
    when: Tensor
    unaware: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


TENSORS = tuple(name for name in Cache.__dataclass_fields__ if name != "captions")


def build_cache(
    folder: Path,
    encode_v: Callable[[Tensor], Tensor],
    encode_a: Callable[[Tensor], Tensor],
    settings: CacheSettings,
    codecs: Sequence[nn.Module],
    spec: ClipSpec,
) -> Cache:
    """Render and encode a cache's examples, a file of `PIECE` examples at a time; files of the same request stay.

    Args:
        encode_v: frames `[T, 3, s, s]` to scaled latents `[T, 4, h, w]`.
        encode_a: waveform `[1, N]` to scaled, padded latents `[1, 8, R, 16]`.
        codecs: networks of both, by whose weights the request is known.
    """
    request = json.dumps([asdict(settings), spec.seconds, spec.fps, ESTIMATOR, _digest(codecs)])
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    for start in range(0, settings.count, PIECE):
        path, numbers = folder / f"{start:06d}.safetensors", settings.numbers[start : start + PIECE]
        if not _answers(path, request):
            made = [_encoded(number, settings, encode_v, encode_a, spec) for number in numbers]
            tensors = {name: torch.stack([row[name] for _, row in made]).contiguous() for name in TENSORS}
            captions = json.dumps([caption for caption, _ in made])
            with atomic_path(path) as temporary:
                save_file(tensors, temporary, metadata={"request": request, "captions": captions})
            print(f"cache {folder.name}: {start + len(numbers)}/{settings.count}", flush=True)
        pieces.append(path)
    return load_cache(pieces)


def _digest(codecs: Sequence[nn.Module]) -> str:
    """Digest weights at half precision, as a bundle stores them."""
    digest = hashlib.sha256()
    for codec in codecs:
        for name, tensor in sorted(codec.state_dict().items()):
            digest.update(name.encode() + tensor.detach().half().numpy().tobytes())
    return digest.hexdigest()[:16]


def _answers(path: Path, request: str) -> bool:
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return file.metadata().get("request") == request


def _encoded(
    number: int, settings: CacheSettings, encode_v: Callable[[Tensor], Tensor], encode_a: Callable[[Tensor], Tensor],
    spec: ClipSpec,
) -> tuple[str, dict[str, Tensor]]:  # fmt: skip
    """Caption and tensors of one example."""
    example: Example = make_example(
        "train", number, num_frames=settings.num_frames, spec=spec, with_picture=settings.with_picture,
        with_sound=settings.with_sound, estimated=number % settings.estimate_every == 0, sound="omni",
        shares=settings.shares,
    )  # fmt: skip
    no_picture = torch.zeros(settings.num_frames, 4, 0, 0)
    silent = torch.zeros(8, spec.num_latent_rows_padded, 16)
    return example.caption, {
        "latents_v": (encode_v(example.frames) if settings.with_picture else no_picture).half(),
        "latents_a": (encode_a(example.waveform[None])[0] if settings.with_sound else silent).half(),
        "maps": (example.maps * 255).round().byte(),
        "views": torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in example.track.views]),
        "when": example.when.half(),
        "unaware": torch.tensor(float(example.unaware)),
    }


def load_cache(paths: Sequence[Path]) -> Cache:
    """Read a cache's pieces into one; its memory is taken once."""
    captions: list[str] = []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            captions += json.loads(file.metadata()["captions"])
    return Cache(captions=tuple(captions), **{name: _joined(paths, name, len(captions)) for name in TENSORS})


def _joined(paths: Sequence[Path], name: str, count: int) -> Tensor:
    whole, done = torch.empty(0), 0
    for path in paths:
        with safe_open(path, framework="pt") as file:
            piece = file.get_tensor(name)
        if not done:
            whole = piece.new_empty(count, *piece.shape[1:])
        whole[done : done + len(piece)] = piece
        done += len(piece)
    return whole


@dataclass(frozen=True)
class CacheBatch:
    """Hold rows of a `Cache` for one training step, with latents and maps as float32."""

    latents_v: Tensor  # [B, 4, T, h, w]
    latents_a: Tensor  # [B, 8, R, 16]
    maps: Tensor  # [B, T, 2, H, W]
    views: Tensor  # [B, T, 3]
    when: Tensor  # [B, 4, S]
    unaware: Tensor  # [B]
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
        cache.when[rows].float(),
        cache.unaware[rows],
        tuple(cache.captions[i] for i in rows.tolist()),
        rows,
    )


def batches(cache: Cache, batch_size: int, generator: torch.Generator) -> Iterator[CacheBatch]:
    """Yield shuffled batches without end; each epoch visits every example once."""
    while True:
        order = torch.randperm(len(cache), generator=generator)
        for start in range(0, len(cache) - batch_size + 1, batch_size):
            yield take(cache, order[start : start + batch_size].tolist())
