"""
Workers that functions are sealed for.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
_spec = importlib.util.spec_from_file_location(
    "sealing_home", Path(__file__).with_name("home.py")
)
assert _spec is not None
assert _spec.loader is not None
home = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(home)


@pytest.fixture(scope="module")
def worker() -> Iterator[Any]:
    """
    A worker that has this Python and its packages, but none of this process's state.
    """
    paths = [str(SOURCE), *(path for path in sys.path if "site-packages" in path)]
    process = home.Worker(sys.executable, paths)
    yield process
    assert process.close() == 0


@pytest.fixture
def bare_worker(tmp_path: Path) -> Iterator[Any]:
    """
    A worker that has no fal-core, only the modules that come with a worker.
    """
    package = tmp_path / "only"
    package.mkdir()
    (package / "fal_core_worker").symlink_to(SOURCE / "fal_core_worker")
    (package / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    process = home.Worker(sys.executable, [str(package)], ("-I", "-S"))
    yield process
    process.close()
