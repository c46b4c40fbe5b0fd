"""Make the accelerator: Accelerate for processes, precision and devices, or a replacement without it.

The loop is written for Accelerate. `python train/train.py` must also work from the base install, so `OneProcess`
answers the same calls for one process in float32. A test checks that both give the same losses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from con360.devices import resolve_device
from con360.errors import InputError
from train.config import RunConfig


class OneProcess:
    """Run one process in float32; offers the calls of `accelerate.Accelerator` that the loop makes."""

    process_index, num_processes, is_main_process, scaler = 0, 1, True, None

    def __init__(self, accumulate: int = 1) -> None:
        self.device = torch.device(resolve_device())
        self.accumulate_steps, self.calls, self.sync_gradients = accumulate, 0, True

    def prepare(self, module: nn.Module, optimiser: Any) -> tuple[nn.Module, Any]:
        return module.to(self.device), optimiser

    @contextmanager
    def accumulate(self, module: nn.Module) -> Iterator[None]:
        self.calls += 1
        self.sync_gradients = self.calls % self.accumulate_steps == 0
        yield

    def backward(self, loss: Tensor) -> None:
        (loss / self.accumulate_steps).backward()

    def clip_grad_norm_(self, parameters: Any, max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor

    def wait_for_everyone(self) -> None:
        pass


def make_accelerator(config: RunConfig) -> Any:
    """Make an `Accelerator`; without Accelerate, an `OneProcess` for one process in float32.

    Raises:
        InputError: Accelerate is needed and not installed.
    """
    if find_spec("accelerate") is None:
        if config.mixed_precision != "no" or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                "several processes and mixed precision need Accelerate, which is not installed: "
                'pip install -e ".[train]".'
            )
        return OneProcess(config.accumulate)
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import GradientAccumulationPlugin

    return Accelerator(
        mixed_precision=config.mixed_precision,
        # Batches follow the order of samples; the end of a loader must not cut an accumulation short.
        gradient_accumulation_plugin=GradientAccumulationPlugin(config.accumulate, sync_with_dataloader=False),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=config.leaves_gradients_out)],
    )
