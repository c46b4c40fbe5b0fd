"""Check the types of the nodes: `python -m tools.node_types`.

The nodes import the library as `..con360`, so mypy must see this folder as a package, as ComfyUI does. A clone's folder
name need not be a Python name; a link named `pack` in a temporary folder is one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pack").symlink_to(PACK, target_is_directory=True)
        options = ["--config-file", str(PACK / "pyproject.toml"), "--cache-dir", str(PACK / ".mypy_cache" / "nodes")]
        # Silent on the library, which plain `mypy` checks.
        command = [sys.executable, "-m", "mypy", *options, "--follow-imports", "silent", "-p", "pack.nodes"]
        return subprocess.run(command, cwd=folder).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
