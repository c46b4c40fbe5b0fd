"""`python -m con360` is the `con360` command."""

from .cli import main

raise SystemExit(main())
