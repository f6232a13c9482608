"""
What the tests of the local host share.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fal_core.plugins import find_host


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """
    Run source as a program of its own and return how it ended.
    """

    def run(source: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def close_local_host() -> Iterator[None]:
    """
    Leave no worker behind.
    """
    yield
    find_host("local").close()


def is_alive(pid: int) -> bool:
    """
    Tell whether *pid* runs; a zombie does not.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """
    Wait for *condition*, for *seconds* at most, and return whether it came true.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
