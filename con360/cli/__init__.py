"""The `con360` command: a third client of the library, beside the nodes and the training.

Torch and the model libraries load only when a command runs: `con360 --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..errors import InputError
from .parser import parse
from .requests import Request

NO_MEMORY = "memory ran out; ask for a shorter clip, set --memory low, or close other programs."
# Load averages, then running/existing tasks (proc_loadavg(5)); Linux alone has it.
LOADAVG = Path("/proc/loadavg")
DONE, FAILED, WRONG_INPUT, MUST_MEND, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        Exit status: 0 done, 1 the machine failed (disk full, ...), 2 wrong input, 3 a check found something to mend,
        130 interrupted.
    """
    started = time.perf_counter()
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not end the program.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    # Silence the model libraries' remarks about themselves; a user who wants them sets these.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    request = parse(arguments)
    _yield_to_others()
    try:
        return _run(request, started)
    except InputError as error:
        return _complain(request, str(error), WRONG_INPUT)
    except MemoryError as error:
        return _complain(request, str(error) or NO_MEMORY, FAILED)
    except RuntimeError as error:  # torch and OpenCV report memory so
        from ..memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _complain(request, NO_MEMORY, FAILED)
    except OSError as error:  # disk full, no permission: the system's words suffice
        return _complain(request, f"{error}; nothing more was written.", FAILED)
    except KeyboardInterrupt:
        return _complain(request, "interrupted; unfinished files were removed.", INTERRUPTED)


def _yield_to_others() -> None:
    """Let torch's threads sleep soon at barriers where other programs run (docs/threads.md has the figures).

    GNU's OpenMP, torch's on Linux, reads the number of turns once, as it loads. No result depends on it.
    """
    if "OMP_WAIT_POLICY" in os.environ or not os.access(LOADAVG, os.R_OK):
        return
    running = int(LOADAVG.read_text().split()[3].partition("/")[0])
    if running > 1:  # this process is one
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _run(request: Request, started: float) -> int:
    """Run the command's own module, imported only now; a check alone has a status of its own."""
    module = import_module(f".{request.command}", __package__)
    must_mend = getattr(module, f"run_{request.command}")(request, started)
    return MUST_MEND if must_mend else DONE


def _complain(request: Request, sentence: str, status: int) -> int:
    print(f"con360 {request.command}: {sentence}", file=sys.stderr)
    if request.json:
        import json

        print(json.dumps({"error": sentence, "exit_status": status}))
    return status
