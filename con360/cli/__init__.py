"""The `con360` command: a third client of the library, beside the nodes and the training.

Torch and the model libraries load only when a command runs: `con360 --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .parser import build_parser

NO_MEMORY = "memory ran out; ask for a shorter clip, set --memory low, or close other programs."
# Load averages, then running/existing tasks (proc_loadavg(5)); Linux alone has it.
LOADAVG = Path("/proc/loadavg")
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        Exit status: 0 done, 1 the machine failed (disk full, ...), 2 wrong input, 130 interrupted.
    """
    started = time.perf_counter()
    for stream in (sys.stdout, sys.stderr):
        # File names may hold what the terminal cannot show, and a name is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    # The model libraries' remarks about themselves are of no use here; whoever wants them sets these.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    options = build_parser().parse_args(arguments)
    _yield_to_others()
    try:
        options.run(options, started)
    except InputError as error:
        return _complain(options, str(error), WRONG_INPUT)
    except MemoryError as error:
        return _complain(options, str(error) or NO_MEMORY, FAILED)
    except RuntimeError as error:  # torch's and OpenCV's way to say it
        from ..memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _complain(options, NO_MEMORY, FAILED)
    except OSError as error:  # the system said no: its own words, without a traceback
        return _complain(options, f"{error}; nothing more was written.", FAILED)
    except KeyboardInterrupt:
        return _complain(options, "interrupted; unfinished files were removed.", INTERRUPTED)
    return DONE


def _yield_to_others() -> None:
    """Let torch's threads sleep soon at barriers where other programs run (docs/threads.md has the figures).

    GNU's OpenMP, torch's on Linux, reads the number of turns once, as it loads. No result depends on it.
    """
    if "OMP_WAIT_POLICY" in os.environ or not os.access(LOADAVG, os.R_OK):
        return
    running = int(LOADAVG.read_text().split()[3].partition("/")[0])
    if running > 1:  # this process is one
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _complain(options, sentence: str, status: int) -> int:
    print(f"con360 {options.command}: {sentence}", file=sys.stderr)
    if getattr(options, "json", False):
        import json

        print(json.dumps({"error": sentence, "exit_status": status}))
    return status
