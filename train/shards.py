"""Write and read training shards: Parquet files that appear whole or not at all.

A folder of prepared data:

    prepared.json               the settings that made it
    train/<digest>.parquet      one row per example (a segment seen from one viewpoint)
    validation/... test/...
    failures.jsonl              segments without examples, and why (a copy from the shards)

A shard's footer holds the outcome of each of its segments, including failed and rejected ones. Renaming the shard is
the whole commit, so no second file can disagree with it.

Tensors are safetensors bytes in binary columns, one column per tensor. Nothing unpickles, and only the columns that a
reader names are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from con360.control.config import SALIENCY_AND_BASD
from con360.errors import InputError
from con360.media.files import atomic_path
from con360.records import Signal

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS_FILE = "prepared.json"
FORMAT = 1
_FOOTER_KEY = b"con360"
# Rows that a reader holds at a time.
_ROWS = 16
_SCALARS = ("id", "segment", "video", "start_s", "rank", "caption", "sound_kind")
TENSORS = ("latents_v", "latents_a", "maps", "views", "text_v", "text_a")
# Features of pictures, and mean and standard deviation of Ambisonics' latents.
FIELD_TENSORS = ("panorama", "view", "field_mean", "field_std")
_BESIDE = ("sound", "foa", "crops", *FIELD_TENSORS)


@dataclass(frozen=True)
class Sample:
    """Hold one clip of one view, encoded for a training step.

    Shape legend: T frames, h w latent rows and columns, R padded audio latent rows, H W map rows and columns,
    L tokens, D embedding width.

    Args:
        latents_v: `[T, 4, h, w]` float16, scaled VAE latents of the view's true picture.
        latents_a: `[8, R, 16]` float16, scaled VAE latents of the view's true sound, zero rows appended.
        maps: `[T, C, H, W]` uint8, 255 is 1: saliency, BASD and further ones, each min-max normalised per frame.
        views: `[T, 3]` float32: yaw, pitch, field of view in degrees.
        text_v: `[L, D]` float16, CLIP's last hidden state.
        text_a: `[D]` float16, CLAP's sentence embedding, unit norm.
        caption: the short caption, or "".
        channels: names of the maps.
        signals: signals by name, as long as the clip.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    views: Tensor
    text_v: Tensor
    text_a: Tensor
    caption: str
    channels: tuple[str, ...] = SALIENCY_AND_BASD
    signals: Mapping[str, Signal] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prepared(Sample):
    """Hold a sample of a prepared data set: a segment of a 360° clip seen from one viewpoint.

    Shape legend: T frames, N samples of sound, s side of the picture.

    Args:
        id: `<segment>#<rank>`, the same in every run.
        segment: `<clip>@<start>`.
        video: source video, or the scene's seed; clips that share it are in one split.
        start_s: start of the segment in its clip, in seconds.
        rank: of the viewpoint, from 1.
        sound_kind: content of latents_a: `view` (wide microphone towards the view) or `omni` (downmix).
        sound: `[N]` float16, mono 16 kHz, what latents_a encodes; None unless asked for.
        foa: `[4, N]` float16, AmbiX at 16 kHz; stored once per segment, with its first viewpoint; None unless asked
            for, or where the clip has none.
        crops: `[T, 3, s, s]` uint8, the view's true picture (JPEG); None unless asked for and stored.
        panorama, view: `[T, F]` float16, features of the panorama's and the front view's pictures, for a model of
            Ambisonics; stored once per segment, as are
        field_mean, field_std: `[Z, R]` float16, moments of the latents of its sound.
    """

    id: str
    segment: str
    video: str
    start_s: float
    rank: int
    sound_kind: str
    sound: Tensor | None = None
    foa: Tensor | None = None
    crops: Tensor | None = None
    panorama: Tensor | None = None
    view: Tensor | None = None
    field_mean: Tensor | None = None
    field_std: Tensor | None = None


Status = Literal["done", "rejected", "failed"]


@dataclass(frozen=True)
class Outcome:
    """Record the outcome of one segment.

    Args:
        segment: its id. status: `done`, `rejected` (cleaning, or too short) or `failed`.
        stage: stage that ended it, if not done. reason: a sentence, empty when done.
        examples: number of rows. seconds: wall-clock time per stage. core_seconds: CPU time per stage, all threads.
        notices: changes made to the clip, for the user. finished_s: end, in Unix time.
    """

    segment: str
    status: Status
    stage: str = ""
    reason: str = ""
    examples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    core_seconds: dict[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    finished_s: float = 0.0


@dataclass(frozen=True)
class Result:
    """Hold a segment's outcome and examples, as the last stage hands them to the writer."""

    outcome: Outcome
    examples: tuple[Prepared, ...] = ()


def write_shard(folder: Path, split: str, results: Sequence[Result]) -> Path:
    """Write one shard; it becomes visible when complete.

    Convention: its segments determine its name, so writing them again replaces it.

    Returns:
        `folder/split/<digest>.parquet`.
    """
    pa, pq = _arrow()
    examples = [example for result in results for example in result.examples]
    columns = {name: [_packed(name, getattr(e, name)) for e in examples] for name in _SCALARS + TENSORS + _BESIDE}
    footer = json.dumps({"format": FORMAT, "outcomes": [asdict(result.outcome) for result in results]})
    table = pa.table(columns, _schema().with_metadata({_FOOTER_KEY: footer.encode()}))
    digest = hashlib.sha256("\n".join(sorted(r.outcome.segment for r in results)).encode()).hexdigest()[:20]
    path = Path(folder) / split / f"{digest}.parquet"
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROWS)
    return path


def shard_paths(folder: str | Path, split: str) -> tuple[Path, ...]:
    """List the committed shards of a split by name, without temporary files of running or killed writers.

    Raises:
        InputError: the folder holds no such split.
    """
    folder = Path(folder).expanduser()
    paths = committed_shards(folder / split)
    if not paths:
        present = sorted(path.name for path in folder.glob("*/") if committed_shards(path))
        raise InputError(
            f"{folder} holds no prepared split {split!r} (it has: {', '.join(present) or 'none'}); make it with "
            f"train/prepare.py, or name another split."
        )
    return paths


def committed_shards(folder: Path) -> tuple[Path, ...]:
    """List the shards directly in a folder, by name; none if there is no folder."""
    # Unlike a shell, pathlib's `*` also matches names with a leading dot.
    return tuple(sorted(path for path in folder.glob("*.parquet") if not path.name.startswith(".")))


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """Read the outcomes of one shard's segments from its footer.

    Raises:
        InputError: not a shard of this project, or of another format.
    """
    _, pq = _arrow()
    metadata = _open(path, pq.read_metadata).metadata or {}
    footer = json.loads(metadata.get(_FOOTER_KEY, b"{}"))
    if footer.get("format") != FORMAT:
        raise InputError(f"{path} is no shard of format {FORMAT}; prepare the data again, or remove the file.")
    return tuple(Outcome(**{**o, "notices": tuple(o["notices"])}) for o in footer["outcomes"])


def count_examples(folder: str | Path, split: str) -> int:
    """Count the examples of a split, reading only footers."""
    _, pq = _arrow()
    return sum(_open(path, pq.read_metadata).num_rows for path in shard_paths(folder, split))


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Read the settings of a folder of prepared data: clip, model, saliency, viewpoints, sound, split.

    Raises:
        InputError: the folder was not made by train/prepare.py.
    """
    path = Path(folder).expanduser() / SETTINGS_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {SETTINGS_FILE}; name a folder that train/prepare.py made.")
    return json.loads(path.read_text(encoding="utf-8"))


def read_shards(
    folder: str | Path,
    split: str = "train",
    *,
    beside: Sequence[str] = (),
    part: tuple[int, int] = (0, 1),
    shard_seed: int | None = None,
) -> Iterator[Prepared]:
    """Yield the examples of a split once; the order depends only on the arguments.

    Args:
        folder: made by train/prepare.py. split: "train", "validation" or "test".
        beside: further columns to load: any of "sound", "foa", "crops", or of `FIELD_TENSORS`.
        part: (index, count): every count-th example from index on, for several processes; the parts are disjoint and
            together complete.
        shard_seed: shuffles the order of the shards (not inside them); None sorts them by name.

    Raises:
        InputError: no such split, an unknown name in `beside`, or a file that is no shard.
    """
    unknown = set(beside) - set(_BESIDE)
    if unknown or not 0 <= part[0] < part[1]:
        what = f"beside={sorted(unknown)}" if unknown else f"part={part}"
        raise InputError(f"read_shards got {what}; beside takes {', '.join(_BESIDE)}, part (index, count).")
    paths = shard_paths(folder, split)
    if shard_seed is not None:
        paths = tuple(paths[i] for i in np.random.default_rng(shard_seed).permutation(len(paths)))
    return _rows(paths, [*_SCALARS, *TENSORS, *beside], part)


def group_sizes(path: Path) -> tuple[int, ...]:
    """Count the examples of each row group (the smallest readable piece) of a shard, from its footer."""
    _, pq = _arrow()
    metadata = _open(path, pq.read_metadata)
    return tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))


def read_group(path: Path, index: int) -> tuple[Prepared, ...]:
    """Read the examples of one row group, for readers that choose their own order."""
    _, pq = _arrow()
    with _open(path, pq.ParquetFile) as file:
        rows = file.read_row_group(index, columns=[*_SCALARS, *TENSORS]).to_pylist()
    return tuple(Prepared(**{name: _unpacked(name, value) for name, value in row.items()}) for row in rows)


def field_groups(path: Path) -> tuple[int, ...]:
    """Count the segments with latents of Ambisonics in each row group of a shard, from its footer."""
    _, pq = _arrow()
    metadata = _open(path, pq.read_metadata)
    if FIELD_TENSORS[0] not in metadata.schema.names:
        return (0,) * metadata.num_row_groups
    column = metadata.schema.names.index(FIELD_TENSORS[0])
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return tuple(group.num_rows - group.column(column).statistics.null_count for group in groups)


def read_field_group(path: Path, index: int) -> tuple[dict[str, Tensor], ...]:
    """Read `FIELD_TENSORS` of one row group's segments that have them."""
    _, pq = _arrow()
    with _open(path, pq.ParquetFile) as file:
        rows = file.read_row_group(index, columns=list(FIELD_TENSORS)).to_pylist()
    found = (row for row in rows if row[FIELD_TENSORS[0]] is not None)
    return tuple({name: _unpacked(name, value) for name, value in row.items()} for row in found)


def _rows(paths: Sequence[Path], columns: list[str], part: tuple[int, int]) -> Iterator[Prepared]:
    _, pq = _arrow()
    number = 0
    for path in paths:
        with _open(path, pq.ParquetFile) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                mine = range((part[0] - number) % part[1], batch.num_rows, part[1])
                for row in batch.take(list(mine)).to_pylist() if len(mine) else ():
                    yield Prepared(**{name: _unpacked(name, value) for name, value in row.items()})
                number += batch.num_rows


def _open(path: Path, how: Any) -> Any:
    pa, _ = _arrow()
    try:
        return how(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as a shard ({error}); remove it and run prepare again.") from error


def _schema() -> pa.Schema:
    pa, _ = _arrow()
    kinds = {"start_s": pa.float64(), "rank": pa.int32()}
    return pa.schema(
        [(name, kinds.get(name, pa.string())) for name in _SCALARS]
        + [(name, pa.binary()) for name in TENSORS + _BESIDE]
    )


def _packed(name: str, value: Any) -> Any:
    if name == "crops" and value is not None:
        return _as_jpeg(value)
    return save({"": value.contiguous()}) if isinstance(value, Tensor) else value


def _unpacked(name: str, value: Any) -> Any:
    if name in _SCALARS or value is None:
        return value
    return _from_jpeg(value) if name == "crops" else load(value)[""]


def _as_jpeg(crops: Tensor) -> bytes:
    """Encode frames `[T, 3, s, s]`, stacked vertically, as one JPEG."""
    import cv2

    rgb = crops.permute(0, 2, 3, 1).flatten(0, 1).numpy()
    good, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert good, "JPEG encoding of stacked frames failed"
    return data.tobytes()


def _from_jpeg(data: bytes) -> Tensor:
    import cv2

    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    side = rgb.shape[1]
    return torch.from_numpy(rgb.copy()).unflatten(0, (len(rgb) // side, side)).permute(0, 3, 1, 2).contiguous()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError("shards need pyarrow, which is not installed: pip install -e '.[cluster]'.") from error
    return pa, pq
