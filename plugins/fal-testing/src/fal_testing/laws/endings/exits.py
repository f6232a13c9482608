"""Laws of programs that end while calls are under way."""

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
    """Lines of Python that make the host, as ``host``, in another process."""
    return f"from fal_core.plugins import find_host\nhost = find_host({host_url!r})"


def test_submitted_calls_end_before_their_program(
    host_program: str,
    kind: str,
    kind_options: dict[str, Any],
    law_timeout: float,
    tmp_path: Path,
) -> None:
    """A program that ends, here by an exception, waits for the calls that it has submitted."""
    path = tmp_path / "program.py"
    path.write_text(host_program + _PROGRAM.format(kind=kind, options=kind_options))
    look = "Threads of the host must neither keep a program alive nor end before its calls."
    try:
        done = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, timeout=law_timeout
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(
            f"A program that had submitted one call has not ended after {law_timeout:g} s. It "
            f"printed {error.stdout!r} and {error.stderr!r}. {look}"
        ) from None
    unfound = [line for line in done.stderr.splitlines() if "No host is called" in line]
    assert not unfound, (
        f"A program in another process did not find the host: {unfound[-1].strip()} Define the "
        "fixture host_url to return a name or URL by which an installed plugin finds it, or "
        "host_program to return lines of Python that make it there, as `host`."
    )
    printed = f"It printed {done.stdout!r} and {done.stderr!r}. {look}"
    assert "ended 8" in done.stdout.splitlines(), (
        f"A program ended before the call that it had submitted. {printed}"
    )
    assert "LookupError: the program has failed" in done.stderr, (
        f"The error that ended the program is not on its standard error. {printed}"
    )
    assert done.returncode == 1, (
        f"The exit code of the program: expected 1, found {done.returncode}. {printed}"
    )
