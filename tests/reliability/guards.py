"""Take each promise's guard out, one at a time and in a copy of the project, and see its check fail.

    python -m tests.reliability.guards [WORDS ...]

WORDS choose guards by check or by description, as the table prints them. Exit status 1 when a check
holds without its guard.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 1200
# The effort for faults so rare that every execution is needed.
FULL = "all of them"


@dataclass(frozen=True)
class Guard:
    """A guard: when `text` in `file` becomes `instead`, `check` must fail at this effort.

    `since_av`: the first PyAV that needs the guard; with an older one it is not tried.
    """

    check: str
    what: str
    file: str
    text: str
    instead: str
    effort: str = "--small"
    since_av: tuple[int, ...] = ()


GUARDS = (
    Guard("bad_files", "the limit on pixels", "con360/media/reader.py",
          "    if info.coded_width * info.coded_height > max_pixels():", "    if False:"),
    Guard("memory_faults", "the second attempt", "con360/memory.py",
          "for size in (usual, smaller) if smaller != usual else (usual,):", "for size in (usual,):"),
    Guard("memory_faults", "a step that keeps its smaller size", "con360/sampling/passes.py",
          "            self.at_once = at_once\n            self._calls.clear()", "            pass"),
    Guard("memory_faults", "memory given back to ComfyUI", "nodes/host/runtime.py",
          "        make_room()\n        raise", "        raise"),
    Guard("paths", "links followed before a name is judged", "nodes/host/files.py",
          "    if not path.is_relative_to(folder):", "    if False:"),
    Guard("paths", "names of every system", "nodes/host/files.py",
          "    if climbs or windows.drive or windows.root or PurePosixPath(name).is_absolute():", "    if False:"),
    Guard("hostile_weights", "weights_only", "con360/weights/files.py",
          "weights_only=True, mmap", "weights_only=False, mmap"),
    Guard("hostile_weights", "weights_only of SalViT360", "con360/saliency/salvit360.py",
          'map_location="cpu", weights_only=True', 'map_location="cpu", weights_only=False'),
    Guard("hostile_weights", "shards beside their index", "con360/weights/files.py",
          "    if outside or not found:", "    if not found:"),
    Guard("network", "no connection", "con360/pipeline.py", "    spec, watch = model.clip_spec(seconds), Stopwatch()",
          "    import socket\n    socket.getaddrinfo('localhost', 80)\n"
          "    spec, watch = model.clip_spec(seconds), Stopwatch()"),
    Guard("network", "playlists are no media", "con360/media/info.py",
          '{"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}', "{}"),
    Guard("fuzz", "damaged pictures", "con360/media/info.py", "        except Exception as error:\n            reason",
          "        except ZeroDivisionError as error:\n            reason"),
    Guard("fuzz", "headers of any content", "con360/weights/files.py",
          "    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:",
          "    except ZeroDivisionError as error:"),
    Guard("guided", "tables that claim more than they hold", "con360/media/spherical_tags.py",
          "    except (struct.error, RecursionError) as error:", "    except ZeroDivisionError as error:",
          effort="--quick"),
    Guard("guided", "metadata of text alone", "con360/weights/files.py",
          "        if not all(isinstance(value, str) for value in metadata.values()):", "        if False:",
          effort=FULL),
    Guard("workflow_inputs", "the rate of a clip", "con360/timing.py",
          "        if not 0 < self.fps <= MAX_FPS:", "        if False:"),
    Guard("kills", "a temporary name first", "con360/media/files.py",
          '    temporary = final.with_name(f".{secrets.token_hex(6)}.part{final.suffix}")\n    try:\n'
          "        with full_disk_told(final):\n            yield temporary\n            os.replace(temporary, final)\n"
          "    finally:\n        temporary.unlink(missing_ok=True)",
          "    with full_disk_told(final):\n        yield final"),
    Guard("kills", "checkpoints appear whole", "train/checkpoint.py", '    partial = folder / f".{final.name}.part"',
          "    partial, put_folder = final, lambda *_: None", effort="--quick"),
    Guard("disk", "one sentence for a full disk", "con360/media/files.py",
          '        if getattr(error, "errno", None) not in _FULL and not _FULL_WORDS.search(str(error)):',
          "        if True:"),
    Guard("two_at_once", "one training per folder", "train/train.py",
          'hold(config.folder, "--out") if accelerator.is_main_process else nullcontext()', "nullcontext()"),
    Guard("prompts", "nothing is kept of a clip", "con360/pipeline.py", "    said = model.notices + drawing_notices(",
          "    globals().setdefault('kept', []).append(torch.ones(8_000_000))\n"
          "    said = model.notices + drawing_notices("),
    Guard("soak", "nothing is kept of a clip", "con360/pipeline.py", "    said = model.notices + drawing_notices(",
          "    globals().setdefault('kept', []).append(torch.ones(8_000_000))\n"
          "    said = model.notices + drawing_notices("),
    Guard("determinism", "noise from the seed alone", "con360/sampling/settings.py",
          "        return torch.Generator().manual_seed(self.seed)",
          "        own = torch.Generator()\n        own.seed()\n        return own"),
    Guard("sync", "sound that begins where it should", "con360/media/sound_coders.py", "        self._at = -lead",
          "        self._at = 0"),
    Guard("sound_matrix", "planes one by one", "con360/media/track.py",
          "[np.frombuffer(AudioPlane(frame, i), dtype, size) for i in range(count)]",
          "[np.frombuffer(plane, dtype, size) for plane in frame.planes]"),
    # PyAV 17.1 and 18 free these layouts twice.
    Guard("sound_matrix", "layouts that are kept", "con360/media/info.py",
          "    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))\n", "", since_av=(17, 1)),
    Guard("sound_matrix", "frames without a custom order", "con360/media/info.py",
          '    context.layout = f"{kept_layout(context).nb_channels} channels"', "    pass", since_av=(17, 1)),
)  # fmt: skip


def main(words: list[str]) -> int:
    here = tuple(int(part) for part in version("av").split(".")[:2])
    chosen = [g for g in GUARDS if g.since_av <= here and (not words or {g.check, g.what} & set(words))]
    if older := sum(g.since_av > here for g in GUARDS):
        print(f"{older} guards against faults of newer PyAV are not tried")
    held = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        listing = [shutil.which("git") or "git", "ls-files"]
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        for guard in chosen:
            came, seconds = _without(guard, copy)
            held += came != "noticed"
            print(f"{guard.check:<16} {guard.what:<42} {came:<12} {seconds:4.0f} s", flush=True)
    print(f"{len(chosen)} guards taken out, {held} not noticed")
    return 1 if held else 0


def _without(guard: Guard, copy: Path) -> tuple[str, float]:
    """Run the check without the guard; return its outcome and the seconds that it took."""
    path, began = copy / guard.file, time.perf_counter()
    before = path.read_text(encoding="utf-8")
    if before.count(guard.text) != 1:
        raise SystemExit(f"{guard.file} holds {before.count(guard.text)} times {guard.text!r}; wanted once")
    path.write_text(before.replace(guard.text, guard.instead), encoding="utf-8")
    efforts = [guard.effort] if guard.effort != FULL else []
    command = [sys.executable, "-m", "tests.reliability", *efforts, "--only", guard.check]
    # The copy has no shared data beside it.
    data = {"CON360_TEST_DATA": os.environ.get("CON360_TEST_DATA") or str(ROOT.parent / "shared")}
    try:
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **data}
        )
    finally:
        path.write_text(before, encoding="utf-8")
    seconds = time.perf_counter() - began
    if done.returncode == 1 and "BROKEN" in done.stdout:
        return "noticed", seconds
    return "NOT TRIED" if "NOT TRIED" in done.stdout else "NOT NOTICED", seconds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
