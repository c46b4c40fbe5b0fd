"""Run a piece of work in a process of its own, so that a crash, a hang and its memory are seen from outside.

A fork server imports the project once, so that a process starts in some 20 ms.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

PRELOAD = [
    "reliability.apart", "con360.pipeline", "con360.cli.generate", "con360.media.reader", "con360.media.writer",
    "con360.saliency.multicue", "con360.weights.load", "con360.control", "con360.reframe", "cv2", "av",
    "PIL.Image", "diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_motion_model",
    "diffusers.models.unets.unet_2d_condition", "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip", "transformers.models.clap.modeling_clap",
    "transformers.models.speecht5.modeling_speecht5", "tiny_model", "tiny_clips", "tiny_workflow",
]  # fmt: skip


@dataclass(frozen=True)
class End:
    """End of a piece of work.

    Args:
        value: what it returned. trace: its traceback, where it raised. signal: the name of the signal that ended it.
        timed_out: it was stopped at its time limit. peak_mb: peak memory above that at the start.
    """

    value: Any = None
    trace: str = ""
    signal: str = ""
    timed_out: bool = False
    peak_mb: float = 0.0

    @property
    def trouble(self) -> str:
        """Describe a failure in one line; return "" where the work returned."""
        if self.timed_out:
            return "hung: stopped after its time"
        if self.signal:
            return f"the process died of {self.signal}"
        return self.trace.strip().splitlines()[-1] if self.trace else ""


def start(work: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a process that runs `work` and nothing else."""
    process = _context().Process(target=_quietly, args=(work, arguments), daemon=True)
    process.start()
    return process


def apart(work: Callable[..., Any], *arguments: Any, timeout_s: float = 120.0) -> End:
    """Run `work(*arguments)`, both picklable, in a process of its own and wait for its end."""
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_report, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        told = receiver.recv() if receiver.poll(timeout_s) else None
    except EOFError:
        told = None
    timed_out = told is None and process.is_alive() and not _ended(process)
    if timed_out:
        process.kill()
    process.join()
    if told is not None:
        return End(*told[:2], peak_mb=told[2])
    code = process.exitcode or 0
    return End(timed_out=timed_out, signal="" if timed_out else signal.Signals(-code).name if code < 0 else "exit")


def _ended(process: BaseProcess) -> bool:
    # The pipe closes a moment before the process is gone.
    process.join(1.0)
    return not process.is_alive()


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _quietly(work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _settle()
    work(*arguments)


def _report(sender: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _settle()
    before, value, trace = resident_mb(), None, ""
    try:
        value = work(*arguments)
    except BaseException:  # whatever it is, the caller judges it
        trace = traceback.format_exc()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send((value, trace, max(0.0, peak - before)))


def _settle() -> None:
    import torch

    # Silence progress bars and decoders; failures come back through the pipe.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    # The number of threads changes the last bits of results.
    torch.set_num_threads(1)


def resident_mb(pid: int | str = "self") -> float:
    """Return the present memory of a process, by default this one."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
