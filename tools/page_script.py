"""The viewer's scripts for pages to send, `con360/placing/page_files/shared.js`: `python -m tools.page_script`.

The library is installed without `web/`, and a page is one file: so these scripts are joined, without imports and
exports. Write it again after a change to one of them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "con360" / "placing" / "page_files" / "shared.js"
# Each needs only those before it.
SCRIPTS = ("geometry.js", "ears.js", "hearing.js", "sphere.js")


def joined() -> str:
    """Join the scripts as they are in `web/`."""
    texts = [(ROOT / "web" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    plain = [re.sub(r"^export ", "", re.sub(r"^import .*;\n", "", text, flags=re.M), flags=re.M) for text in texts]
    return "// Made by tools/page_script.py from web/. Change those scripts, not this one.\n\n" + "\n".join(plain)


if __name__ == "__main__":
    FILE.write_text(joined(), encoding="utf-8")
    sys.stdout.write(f"{FILE.relative_to(ROOT)}\n")
