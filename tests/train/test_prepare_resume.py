"""A run killed (-9) at any moment resumes, loses and repeats nothing, and ends with the uninterrupted run's result.

The children start from a server that has imported the project already, so that a kill hits work and not imports.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from shared_data import ROOT

import train.shards
from con360.errors import InputError
from train.preparation.model import model_facts
from train.preparation.run import Executor, _blocks, commit, prepare
from train.preparation.settings import TRUTH, Settings
from train.preparation.sources import SPLITS, SourceClip, procedural_scenes
from train.shards import committed_shards, read_outcomes, read_shards

SCENES = 6
PER_SHARD = 2
PRELOAD = [
    "train.preparation.run", "con360.weights.load", "con360.control",
    "diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_motion_model",
    "diffusers.schedulers.scheduling_ddim", "transformers.models.clip.modeling_clip",
    "transformers.models.clap.modeling_clap", "transformers.models.speecht5.modeling_speecht5",
]  # fmt: skip


def run_prepare(out: Path, kill_at: str = "") -> None:
    """Prepare scenes and one missing clip; die `kill_at` (before, after) the rename of this process's first shard."""
    replace = os.replace

    def replace_and_die(source, target):
        if Path(target).suffix == ".parquet":
            if kill_at == "after":
                replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    if kill_at:
        os.replace = replace_and_die
    # One, as in Ray's workers: another number of threads changes last bits.
    torch.set_num_threads(1)
    clips, problems = procedural_scenes(SCENES, "train")
    absent = SourceClip("absent.mp4", "/no/such/absent.mp4", "absent", "train", starts_s=(0.0,))
    settings = Settings(model_facts(), seconds=0.5, saliency=TRUTH, split="given")
    prepare(([*clips, absent], problems), out, settings, Executor(shard_segments=PER_SHARD), say=lambda line: None)


def start(out: Path, kill_at: str = "") -> multiprocessing.Process:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    child = context.Process(target=run_prepare, args=(out, kill_at))
    child.start()
    return child


def run_to_the_end(out: Path) -> None:
    child = start(out)
    child.join(300)
    assert child.exitcode == 0


def shards_of(out: Path) -> list[Path]:
    return [path for split in SPLITS for path in committed_shards(out / split)]


TENSORS = ("latents_v", "latents_a", "maps", "views", "text_v", "foa")


def content_of(out: Path) -> dict[str, dict[str, str]]:
    """Checksums of every example's latents, maps and text by id; fails where an id comes twice."""
    found: dict[str, dict[str, str]] = {}
    for example in read_shards(out, "train", beside=("sound", "foa", "crops")):
        assert example.id not in found, f"{example.id} is there twice"
        found[example.id] = {
            name: hashlib.sha256(getattr(example, name).numpy().tobytes()).hexdigest()[:16] for name in TENSORS
        }
    return found


def ends_of(out: Path) -> dict[str, str]:
    ends: dict[str, str] = {}
    for outcome in (outcome for path in shards_of(out) for outcome in read_outcomes(path)):
        assert outcome.segment not in ends, f"{outcome.segment} is in two shards"
        ends[outcome.segment] = outcome.status
    return ends


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    run_to_the_end(out)
    return content_of(out), ends_of(out)


needs_forkserver = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="children are started by a fork server"
)


def finish_and_compare(out: Path, uninterrupted: tuple[dict, dict]) -> None:
    run_to_the_end(out)
    content, ends = uninterrupted
    assert ends_of(out) == ends and set(ends.values()) == {"done", "failed"} and len(ends) == SCENES + 1
    assert content_of(out) == content and len(content) == SCENES
    assert not list(out.rglob(".*.part*"))


@needs_forkserver
def test_killed_around_the_rename(uninterrupted, tmp_path):
    """A shard finished but not yet renamed is made again; one just renamed is not."""
    out = tmp_path / "out"
    for kill_at, shards in (("before", 0), ("after", 1)):
        child = start(out, kill_at)
        child.join(300)
        assert child.exitcode == -signal.SIGKILL and len(shards_of(out)) == shards
    (named,) = shards_of(out)
    written_ns = named.stat().st_mtime_ns
    finish_and_compare(out, uninterrupted)
    assert named.stat().st_mtime_ns == written_ns, "what was committed was computed again"


@pytest.mark.slow
@needs_forkserver
def test_killed_at_random_moments(uninterrupted, tmp_path):
    """Each round lets the run commit one more shard and kills it a random moment later; what was there stays."""
    rng, out, killed = random.Random(4), tmp_path / "out", 0
    for _ in range(3):
        known = {path: path.stat().st_mtime_ns for path in shards_of(out)}
        child = start(out)
        deadline = time.monotonic() + 300
        while child.is_alive() and len(shards_of(out)) == len(known) and time.monotonic() < deadline:
            time.sleep(0.005)
        child.join(rng.uniform(0.0, 0.3))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        assert {path: path.stat().st_mtime_ns for path in known} == known
        assert all(read_outcomes(path) for path in shards_of(out))
    assert killed, "no run lived long enough to be killed"
    finish_and_compare(out, uninterrupted)


def test_a_half_written_shard_is_not_seen_and_is_removed(uninterrupted, tmp_path):
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train" / ".0123456789ab.part.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(InputError, match="no prepared split"):
        read_shards(out, "train")
    run_to_the_end(out)
    assert not list(out.rglob(".*.part*")) and content_of(out) == uninterrupted[0]


def test_a_second_writer_is_refused_and_a_superseded_one_cannot_commit(tmp_path):
    from filelock import FileLock

    settings = Settings(model_facts(), seconds=0.5, saliency=TRUTH, split="given")
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another run is writing"):
        prepare(procedural_scenes(1, "train"), tmp_path, settings, say=lambda line: None)
    (tmp_path / ".run").write_text("the later run")
    outcome = train.shards.Outcome("a@0", "failed", "read", "gone")
    with pytest.raises(RuntimeError, match="taken over"):
        commit(tmp_path, "the earlier run", "train", [train.shards.Result(outcome)])
    assert shards_of(tmp_path) == []


@pytest.mark.parametrize(("segments", "workers", "blocks"), [(1, 2, 1), (12, 2, 12), (64, 2, 8), (300_000, 8, 18_750)])
def test_ray_gets_pieces_for_every_worker(segments, workers, blocks):
    assert _blocks(segments, workers) == blocks


@pytest.mark.slow
def test_ray_makes_what_the_plain_executor_makes(uninterrupted, tmp_path):
    """Run the command with two workers and a separate process for the encoders."""
    pytest.importorskip("ray", reason="needs Ray Data: pip install -e '.[cluster]'")
    command = [
        sys.executable, "train/prepare.py", "--scenes", str(SCENES), "--seconds", "0.5", "--out", str(tmp_path),
        "--executor", "ray", "--workers", "2", "--shard-segments", str(PER_SHARD), "--encoders", "1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-2000:]
    assert content_of(tmp_path) == uninterrupted[0]
    assert ends_of(tmp_path) == {name: end for name, end in uninterrupted[1].items() if end == "done"}
