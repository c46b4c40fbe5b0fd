"""Try what the program promises on bad days.

    python -m tests.reliability [--quick] [--only NAME ...] [--json FILE]

Each module tries one kind of trouble and gives one `Figure` per promise. SECURITY.md lists them by module.
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parent.parent
# Run as a program, these modules lack pytest's conftest.py, which does the same.
for _folder in (_TESTS / "train", _TESTS / "media", _TESTS, _TESTS.parent):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
