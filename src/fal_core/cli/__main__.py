"""The command line, as ``python -m fal_core.cli``."""

from __future__ import annotations

from fal_core.cli import main

if __name__ == "__main__":
    main()
