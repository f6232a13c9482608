"""
Laws of programs that end while calls are under way.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """
from fal_core import function

@function({kind!r}, host=host, on_unsupported="ignore", **{options!r})
def double_slowly(number):
    import time

    time.sleep(0.5)
    return 2 * number

def tell(future):
    print("ended", future.result(), flush=True)

double_slowly.submit(4).add_done_callback(tell)
raise LookupError("the program has failed")
"""


@pytest.fixture(scope="session")
def host_program(host_url: str) -> str:
    """
    Lines of Python that make the host, as ``host``, in another process.
    """
    return f"from fal_core.plugins.installed import find_host\nhost = find_host({host_url!r})"


def test_submitted_calls_end_before_their_program(
    host_program: str,
    kind: str,
    kind_options: dict[str, Any],
    law_timeout: float,
    tmp_path: Path,
) -> None:
    """
    A program that ends, here by an exception, waits for the calls that it has submitted.
    """
    path = tmp_path / "program.py"
    path.write_text(host_program + _PROGRAM.format(kind=kind, options=kind_options))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=law_timeout
    )
    assert "ended 8" in done.stdout.splitlines(), done.stderr
    assert "LookupError: the program has failed" in done.stderr
    assert done.returncode == 1
