"""
``fal-core hosts check``, and the conformance of projects that were just created.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fal_core.testing.suite")

#: Seconds that all laws of a host may take.
PATIENCE = 300


SWALLOWS = """
from typing import Any, ClassVar

import attrs
from fal_core import hookimpl
from fal_core.events import Log
from fal_host_local import LocalHost

fal_core_api = 1


@attrs.define(eq=False, slots=False)
class Silent(LocalHost):
    \"\"\"
    A host that loses what functions print.
    \"\"\"

    name: ClassVar[str] = "silent"

    def launch(self, call: Any, sink: Any) -> Any:
        def tell(event: Any) -> None:
            if not isinstance(event, Log):
                sink(event)

        return super().launch(call, tell)


@hookimpl
def fal_register_hosts():
    return [Silent]
"""


def test_host_that_keeps_the_laws_passes(command_line: Any) -> None:
    """
    The laws are run against the host, and the exit code is 0 where they are kept.
    """
    done = command_line("hosts", "check", "local", "-k", "print", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_host_that_breaks_a_law_fails(command_line: Any) -> None:
    """
    The exit code is 1 where a law is broken, and the law is named.
    """
    command_line.install("silent", SWALLOWS)
    done = command_line("hosts", "check", "silent", "-k", "print", "-q")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout


def test_no_law_is_an_error(command_line: Any) -> None:
    """
    Selecting no law at all is an error.
    """
    done = command_line("hosts", "check", "local", "-k", "no_such_law", "-q")
    assert done.returncode == 1
    assert "Error: No law was chosen" in done.stderr


def test_host_project_keeps_every_law(command_line: Any, tmp_path: Path) -> None:
    """
    The project of a host passes its own conformance tests as it was created.
    """
    assert command_line("plugins", "new", "deep-blue").returncode == 0
    project = tmp_path / "fal-host-deep-blue"
    command_line.variables["PYTHONPATH"] = str(project / "src")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_conformance.py"],
        cwd=project,
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
