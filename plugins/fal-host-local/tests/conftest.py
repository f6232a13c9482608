"""Fixtures of the local host's tests."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core.plugins.installed import find_host
from fal_host_local import LocalHost


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """A local host of the test's own."""
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run source as a program of its own and return how it ended."""

    def run(source: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def close_local_host() -> Iterator[None]:
    """Leave no worker behind."""
    yield
    find_host("local").close()
