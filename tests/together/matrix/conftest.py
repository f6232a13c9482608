"""The matrix needs every distribution, and hosts and kinds that are made once for all tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_NEEDED = (
    *("fal_host_local", "fal_env_virtualenv", "fal_env_conda", "fal_env_container"),
    *("fal_serve", "fal_server", "fal_host_serverless", "fal_host_ray"),
)

if None in map(importlib.util.find_spec, _NEEDED):
    collect_ignore_glob = ["*.py"]
else:
    from matrix_runs import Matrix


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """
    The hosts and the kinds, each made as it is first asked for. Their variables are those of
    this process meanwhile.
    """
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("FAL_CORE_CACHE", str(folder / "cache"))
        yield Matrix(folder, stack)
