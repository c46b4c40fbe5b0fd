"""Write the first step's gradients, as the optimiser gets them, to a file; tests run it in one or more processes.

python first_gradients.py OUT.safetensors FOLDER BATCH_SIZE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tiny_clips import make_loop, quick_config

from train.devices import make_accelerator

NEVER_CLIPPED = 1e9


def write_first_gradients(out: Path, folder: Path, batch_size: int) -> None:
    config = quick_config(folder, train="all", batch_size=batch_size, steps=1, clip_norm=NEVER_CLIPPED, ema_decay=0.0)
    accelerator = make_accelerator(config)
    loop = make_loop(config, accelerator)

    def keep(optimiser: Any, args: Any, kwargs: Any) -> None:
        gradients = {name: p.grad.clone() for name, p in loop.trained.items() if p.grad is not None}
        if accelerator.is_main_process:
            save_file(gradients, out)

    # Accelerate wraps the optimiser, and hooks belong to the one inside.
    getattr(loop.optimiser, "optimizer", loop.optimiser).register_step_pre_hook(keep)
    loop.run()


if __name__ == "__main__":
    out, folder, batch_size = sys.argv[1:]
    write_first_gradients(Path(out), Path(folder), int(batch_size))
