"""
Fixtures of the tests of sealing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def bare_worker(tmp_path: Path, sealing_home: ModuleType) -> Iterator[Any]:
    """
    A worker that has no fal-core, only the modules that come with a worker.
    """
    package = tmp_path / "only"
    package.mkdir()
    (package / "fal_core_worker").symlink_to(SOURCE / "fal_core_worker")
    (package / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    process = sealing_home.Worker(sys.executable, [str(package)], ("-I", "-S"))
    yield process
    process.close()
