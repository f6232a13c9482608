"""``fal-core run --measure`` and ``--enforce``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fal_core.abilities import Usage
from fal_core.cli.run import describe
from fal_core.decorators import function
from fal_core.machines import Machine
from fal_testing.harness.devices import machine_with
from fal_testing.hosts.in_process import InProcessHost

SOURCE = """
from fal_core import function

@function("current", on_unsupported="ignore")
def fill(size: int) -> int:
    return len(bytearray(size))
"""

PETA = 10**15


def give() -> int:
    return 1


if TYPE_CHECKING:
    from conftest import CommandLine


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        (
            Usage(memory=PETA - 1, processor_seconds=2),
            "'give' used 1000 TB of memory, 2.00 s of processors at most. The smallest "
            "machine type that fits is 'large' (1000 TB, 4 processors).",
        ),
        (
            Usage(memory=9 * PETA, gpu_memory=10**9),
            "'give' used 9000 TB of memory, 0.00 s of processors, 1 GB of GPU memory at most. "
            "No installed plugin lists a machine type that is known to have as much.",
        ),
    ],
)
def test_what_was_used_is_told(usage: Usage, sentence: str) -> None:
    """The sentence has what was used, and the smallest machine type that has more."""
    with machine_with(machines=(Machine(name="large", memory=PETA, cpus=4),)):
        assert describe(function("current", host=InProcessHost())(give), usage) == sentence


def test_a_measured_call_tells_what_it_has_used(command_line: CommandLine) -> None:
    """The result goes to the standard output, and what was used to the standard error."""
    pytest.importorskip("fal_host_local")
    command_line.write("filling.py", SOURCE)
    done = command_line("run", "--measure", "filling.py::fill", "200000000")
    assert done.stdout == "200000000\n"
    assert re.search(
        r"'fill' used 2\d\d(\.\d)? MB of memory, \d+\.\d\d s of processors", done.stderr
    )


@pytest.mark.parametrize("option", ["--measure", "--enforce"])
def test_a_host_that_cannot_is_named(command_line: CommandLine, option: str) -> None:
    """On a host that measures or enforces nothing, the command says so and what to do."""
    declared = SOURCE.replace('"current"', '"current", host=InProcessHost()')
    imported = "from fal_testing import InProcessHost"
    command_line.write("filling.py", f"{imported}\n{declared}")
    done = command_line("run", option, "filling.py::fill", "1")
    assert done.returncode == 1
    assert "Host 'in-process' cannot" in done.stderr
    assert "Add --on local" in done.stderr


def test_work_that_is_not_waited_for_is_not_measured(command_line: CommandLine) -> None:
    """Nobody would be told what detached work has used."""
    pytest.importorskip("fal_host_local")
    command_line.write("filling.py", SOURCE)
    done = command_line("run", "--measure", "--detach", "filling.py::fill", "1")
    assert done.returncode == 2
    assert "--measure is for calls that are waited for." in done.stderr
