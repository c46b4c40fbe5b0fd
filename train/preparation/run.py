"""Run the stages over a plan, in this process or on Ray, and account for every segment.

Each executor takes the segments that no committed shard covers, and writes the finished ones to shards. A kill loses at
most the unfinished shards; the next run does their segments again.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from con360.errors import InputError
from con360.media.files import atomic_path
from train.locks import hold
from train.preparation.cleaning import check_rules
from train.preparation.plan import Segment, plan_segments
from train.preparation.settings import Settings, claim_folder
from train.preparation.sources import SPLITS, ClipSource, Problem
from train.preparation.stages import Encoder, prepare_views
from train.shards import Outcome, Result, committed_shards, read_outcomes, write_shard

ROOT = Path(__file__).resolve().parent.parent.parent
FAILURES_FILE = "failures.jsonl"
PLAN_FILE = "plan.json"
_RUN_FILE = ".run"
BLOCK_SEGMENTS = 16
# On retries, keep the best outcome.
_ORDER = {"failed": 0, "rejected": 1, "done": 2}


@dataclass(frozen=True)
class Executor:
    """Hold a run's workers and devices; they affect its speed, not its result.

    Args:
        name: `process` (this one) or `ray`.
        workers: processor cores that Ray uses here; a cluster has its own.
        device: of the encoders. encoders: processes that only encode; at 0, the workers that cut views also encode.
        address: of a running Ray cluster, "auto" or "ray://..."; empty starts Ray here.
        shard_segments: segments per shard, which is what a killed writer loses and what a reader opens at a time.
    """

    name: str = "process"
    workers: int = 1
    device: str = "cpu"
    encoders: int = 0
    address: str = ""
    shard_segments: int = 64

    def __post_init__(self) -> None:
        if self.name not in ("process", "ray") or self.workers < 1 or self.encoders < 0 or self.shard_segments < 1:
            raise InputError(f"{self}: the executor is 'process' or 'ray', with 1 or more workers and shard segments.")


@dataclass(frozen=True)
class Account:
    """Compare a folder with a plan.

    Args:
        planned: segments in the plan. outcomes: best outcome per segment, of this plan or an earlier one.
        doubled: segments that are done in more than one shard; happens only if files were copied in.
        problems: faults of the source.
    """

    planned: int
    outcomes: dict[str, Outcome]
    doubled: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    def count(self, status: str) -> int:
        return sum(outcome.status == status for outcome in self.outcomes.values())


def take_account(folder: Path) -> tuple[dict[str, Outcome], tuple[str, ...]]:
    """Return (best outcome of every segment in a committed shard, segments that are done twice)."""
    best: dict[str, Outcome] = {}
    doubled = []
    for path in (path for split in SPLITS for path in committed_shards(folder / split)):
        for outcome in read_outcomes(path):
            known = best.get(outcome.segment)
            if known is not None and known.status == outcome.status == "done":
                doubled.append(outcome.segment)
            if known is None or _ORDER[outcome.status] > _ORDER[known.status]:
                best[outcome.segment] = outcome
    return best, tuple(doubled)


def prepare(
    source: ClipSource,
    out: str | Path,
    settings: Settings,
    executor: Executor | None = None,
    *,
    retry_failed: bool = False,
    say: Callable[[str], None] = print,
) -> Account:
    """Prepare every planned segment of a folder: each ends done, rejected or failed, with a reason.

    Args:
        source: clips, and faults found while listing them. out: folder to write; an unfinished one is continued.
        settings: what to make. executor: who makes it.
        retry_failed: try failed segments again, for example after a missing file was added.
        say: prints a line at the start.

    Raises:
        InputError: the folder was made with other settings, another run is writing to it, or a rule lacks its model.
    """
    executor, folder = executor or Executor(), Path(out).expanduser().absolute()
    check_rules(settings.clean, settings.speech_model, settings.match_model)
    if settings.caption_models is not None:
        settings.caption_models.check()
    clips, problems = source
    plan = plan_segments(clips, settings)
    if not plan:
        raise InputError(f"there is nothing to prepare: {len(problems)} problems, no clip. {_first(problems)}")
    with _writing(folder) as token:
        claim_folder(folder, settings)
        _write_plan(folder, plan)
        known, _ = take_account(folder)
        open_ids = {s for s, outcome in known.items() if retry_failed and outcome.status == "failed"}
        todo = [segment for segment in plan if segment.id not in known or segment.id in open_ids]
        say(f"{len(plan)} segments of {len(clips)} clips; {len(plan) - len(todo)} are finished, {len(todo)} to do")
        write = partial(commit, folder, token)
        for split in SPLITS:
            _run(executor, [s for s in todo if s.split == split], settings, partial(write, split), split)
        outcomes, doubled = take_account(folder)
        account = Account(len(plan), outcomes, doubled, tuple(problems))
        _write_failures(folder, account)
    lost = [segment.id for segment in plan if segment.id not in outcomes]
    if lost:
        raise InputError(f"{len(lost)} segments have no outcome (the first: {lost[0]}); run the same command again.")
    return account


def _first(problems: Sequence[Problem]) -> str:
    return f"The first: {problems[0].where}: {problems[0].reason}." if problems else "Is this the right folder?"


def _run(
    executor: Executor,
    segments: Sequence[Segment],
    settings: Settings,
    write: Callable[[Sequence[Result]], None],
    split: str,
) -> None:
    from tqdm import tqdm

    if not segments:
        return
    run = run_on_ray if executor.name == "ray" else run_in_process
    with tqdm(total=len(segments), desc=f"preparing {split}", unit="segment") as bar:
        for done in run(segments, settings, executor, write):
            bar.update(done)


def run_in_process(
    segments: Sequence[Segment], settings: Settings, executor: Executor, write: Callable[[Sequence[Result]], None]
) -> Iterator[int]:
    """Prepare one segment after the other; yield the number finished at each step."""
    encode = Encoder(settings, executor.device)
    for group in _groups(segments, executor.shard_segments):
        results = []
        for segment in group:
            results.append(encode(prepare_views(segment, settings, executor.device)))
            yield 1
        write(results)


def _groups(items: Sequence[Segment], size: int) -> Iterable[Sequence[Segment]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def run_on_ray(
    segments: Sequence[Segment], settings: Settings, executor: Executor, write: Callable[[Sequence[Result]], None]
) -> Iterator[int]:
    """Run the same stages as Ray Data operators; the worker of the last stage writes the shard.

    On a cluster, code, clips, model and output must have the same paths on every node.
    """
    ray = start_ray(executor)
    work = ray.data.from_items(
        [{"segment": segment} for segment in segments], override_num_blocks=_blocks(len(segments), executor.workers)
    )
    on_gpu = executor.device.startswith("cuda")
    # Separate encoders leave the earlier stages without an accelerator; otherwise every worker holds one.
    first, gpus = ("cpu", 0) if executor.encoders else (executor.device, 1 if on_gpu else 0)
    work = work.map(lambda row: {"work": prepare_views(row["segment"], settings, first)}, num_cpus=1, num_gpus=gpus)
    if executor.encoders:
        results = work.map_batches(
            _EncoderActor, fn_constructor_args=(settings, executor.device), batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=executor.encoders), num_cpus=0,
            num_gpus=1 if on_gpu else 0,
        )  # fmt: skip
    else:
        results = work.map(
            lambda row: {"result": _encoder(settings, executor.device)(row["work"])}, num_cpus=1, num_gpus=gpus
        )
    written = results.map_batches(partial(_write_batch, write), batch_size=executor.shard_segments, num_cpus=0.1)
    try:
        for row in written.iter_rows():
            yield int(row["segments"])
    finally:
        if not executor.address:
            ray.shutdown()


def _blocks(segments: int, workers: int) -> int:
    """Choose the number of pieces that Ray hands out: several per worker, so that a lost worker costs little."""
    return -(-segments // max(1, min(BLOCK_SEGMENTS, segments // (4 * workers))))


def start_ray(executor: Executor) -> Any:
    """Connect to a Ray cluster or start Ray here, without its own output.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("the executor 'ray' needs Ray Data: pip install -e '.[cluster]'.") from error
    if not ray.is_initialized():
        # The workers must import this project as the driver does. Ray limits PyTorch to one thread per worker;
        # OpenCV would use every core in each.
        variables = {"PYTHONPATH": str(ROOT), "OPENCV_FOR_THREADS_NUM": "1"}
        options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "logging_level": "ERROR"}
        if executor.address:
            options["address"] = executor.address
        else:
            options.update(num_cpus=executor.workers, include_dashboard=False)
        ray.init(log_to_driver=False, **options)
    context = ray.data.DataContext.get_current()
    # Our own bar shows progress; the outcomes record errors.
    context.enable_progress_bars = False
    # By default Ray Data reserves cores for each operator. Writing shards is a hundredth of the work, but its
    # reservation left one of two cores idle; on many cores it would be a quarter of them.
    context.op_resource_reservation_enabled = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


@lru_cache(maxsize=1)
def _encoder(settings: Settings, device: str) -> Encoder:
    # Once per worker process: loading costs more than a segment.
    return Encoder(settings, device)


class _EncoderActor:
    """Hold the encoders on an accelerator for the processes that cut views."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.encode = Encoder(settings, device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Result]]:
        return {"result": [self.encode(work) for work in batch["work"]]}


def _write_batch(write: Callable[[Sequence[Result]], None], batch: dict[str, Any]) -> dict[str, list[int]]:
    write(list(batch["result"]))
    return {"segments": [len(batch["result"])]}


def commit(folder: Path, token: str, split: str, results: Sequence[Result]) -> None:
    """Write a shard. Workers can outlive a killed driver: refuse if a later run has taken over the folder."""
    if (folder / _RUN_FILE).read_text() != token:
        raise RuntimeError(f"another run has taken over {folder}")
    write_shard(folder, split, results)


@contextmanager
def _writing(folder: Path) -> Iterator[str]:
    """Lock a folder for writing, and remove unfinished files of killed writers."""
    with hold(folder, "--out"):
        token = secrets.token_hex(8)
        with atomic_path(folder / _RUN_FILE) as temporary:
            temporary.write_text(token)
        for left in (*folder.glob(".*.part*"), *folder.glob("*/.*.part*")):
            left.unlink(missing_ok=True)
        yield token


def _write_plan(folder: Path, plan: Sequence[Segment]) -> None:
    counts = {split: [s for s in plan if s.split == split] for split in SPLITS}
    table = {
        split: {"segments": len(of), "clips": len({s.clip.id for s in of}), "videos": len({s.clip.video for s in of})}
        for split, of in counts.items()
    }
    with atomic_path(folder / PLAN_FILE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _write_failures(folder: Path, account: Account) -> None:
    """Write the source's problems, then the segments without examples, with reasons: one JSON object per line."""
    lines = [
        {"where": p.where, "status": "kept" if p.kept else "left out", "reason": p.reason} for p in account.problems
    ]
    for _, outcome in sorted(account.outcomes.items()):
        if outcome.status != "done":
            lines.append({k: v for k, v in asdict(outcome).items() if k in ("segment", "status", "stage", "reason")})
    with atomic_path(folder / FAILURES_FILE) as temporary:
        temporary.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
