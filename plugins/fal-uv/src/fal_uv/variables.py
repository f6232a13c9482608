"""Environment variables that say yes or no."""

from __future__ import annotations

import os


def is_set(name: str) -> bool:
    """Tell whether the variable *name* says yes, in the words that uv takes for it."""
    return os.environ.get(name, "").strip().lower() in ("1", "t", "true", "y", "yes", "on")
