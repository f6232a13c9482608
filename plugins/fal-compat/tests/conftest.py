"""Fixtures of the tests of fal_compat."""

from __future__ import annotations

import sys
from pathlib import Path

# Modules that tests share.
sys.path.append(str(Path(__file__).parent))
