"""The stand-in for NVIDIA's library, which the distributions share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "vendor"))

from vendor_libraries import gpus, nvml_library  # path

__all__ = ["gpus", "nvml_library"]
