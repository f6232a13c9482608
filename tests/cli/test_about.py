"""``fal-core help`` and ``fal-core version``."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

import pytest


@pytest.mark.parametrize("names", [(), ("run",), ("env", "prune")])
def test_help_is_that_of_the_option(command_line: Any, names: tuple[str, ...]) -> None:
    """``fal-core help run`` prints what ``fal-core run --help`` does."""
    done = command_line("help", *names)
    assert done.returncode == 0
    assert done.stdout == command_line(*names, "--help").stdout


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("rum",), "No such command 'rum'. Did you mean 'run'?"),
        (("run", "prune"), "'fal-core run' has no commands."),
    ],
)
def test_help_of_no_command_is_an_error(
    command_line: Any, names: tuple[str, ...], told: str
) -> None:
    """The error is that of a command which is written wrongly."""
    done = command_line("help", *names)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_version_names_python_and_the_plugins(command_line: Any) -> None:
    """The command prints what a report of a mistake needs, for people and for machines."""
    command_line.install("shouting", "fal_core_api = 1\n")
    told = json.loads(command_line("version", "--json").stdout)
    assert told["fal-core"] == version("fal-core")
    assert told["python"] == platform.python_version()
    assert told["shouting"] == "1.0"
    lines = command_line("version").stdout.splitlines()
    assert lines == [f"{name} {number}" for name, number in told.items()]
