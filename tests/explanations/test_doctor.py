"""The checks of ``fal-core doctor``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import pytest


def test_doctor_checks_the_cache(command_line: Any) -> None:
    """A cache directory that cannot be written is one sentence that says what to do."""
    command_line.write("file", "in the way")
    command_line.variables["FAL_CORE_CACHE"] = str(command_line.folder / "file")
    done = command_line("doctor")
    assert done.returncode == 1
    assert "fails  cache: " in done.stdout
    assert "FAL_CORE_CACHE" in done.stdout


def test_doctor_survives_a_check_that_raises(command_line: Any) -> None:
    """A check that raises has failed, and so has a plugin that cannot list its checks."""
    command_line.install(
        "checking",
        """
        from fal_core import hookimpl
        from fal_core.checks import Check, Finding

        fal_core_api = 1

        def lines():
            raise OSError("first\\n  second.")

        @hookimpl
        def fal_health_checks():
            return [
                Check("division", lambda: 1 / 0),
                Check("lines", lines),
                Check("words", lambda: Finding(True, "One.\\nTwo.")),
            ]
        """,
    )
    done = command_line("doctor")
    assert done.returncode == 1
    assert "fails  division: The check failed: ZeroDivisionError: division by zero." in (
        done.stdout
    )
    # What they say in several lines is one here.
    assert "fails  lines: The check failed: OSError: first second.\n" in done.stdout
    assert "ok     words: One. Two.\n" in done.stdout


@pytest.mark.skipif(find_spec("fal_host_local") is None, reason="the local host is missing")
def test_doctor_calls_on_this_machine(command_line: Any) -> None:
    """If every check passes the exit code is 0, and the call on this machine was timed."""
    # Other plugins check for what this machine may lack, as an engine of containers.
    command_line.variables["FAL_CORE_PLUGINS"] = "local"
    done = command_line("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ok     call: A call on this machine took \d+\.\d+ s", done.stdout, re.M)
    assert "fails" not in done.stdout
