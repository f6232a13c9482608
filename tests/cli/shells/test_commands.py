"""``fal-core completion``: scripts for shells, and what they complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

#: Completes the line in its first argument, as bash does for a key, and prints the candidates.
COMPLETES = """
source ./script
compopt() { echo "$@" >> options; }
COMP_LINE="$1"
COMP_POINT=${#COMP_LINE}
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
_fal_core_completion fal-core
printf '%s\\n' "${COMPREPLY[@]}"
"""

#: The same for zsh, whose builtins complete nothing outside of its editor.
COMPLETES_IN_ZSH = """
compdef() { : }
compadd() { print -rl -- "${(@P)@[-1]}" }
_describe() { print -rl -- "${(@P)3}" }
_path_files() { print -r -- "files $@" }
source ./script
words=("${(@s: :)1}")
CURRENT=$#words
_fal_core_completion
"""


@pytest.fixture
def project(command_line: Any) -> Any:
    """A folder with functions, and the program in ``PATH``."""
    command_line.write(
        "tasks.py",
        """
        from fal_core import function

        @function("current")
        def describe(size: int) -> int: ...

        @function("current")
        def deliver() -> None: ...
        """,
    )
    command_line.write("other.py", "")
    program = command_line.folder / "bin" / "fal-core"
    command_line.write(
        "bin/fal-core", f'#!/bin/sh\nexec {sys.executable} -m fal_core.cli "$@"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{command_line.variables['PATH']}"

    def run(shell: str, *command: str) -> list[str]:
        found = shutil.which(shell)
        if found is None:
            pytest.skip(f"{shell} is not installed.")
        command_line.write("script", command_line("completion", shell).stdout)
        done = subprocess.run(
            [found, *command],
            cwd=command_line.folder,
            env={**command_line.variables, "PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


@pytest.fixture
def complete(project: Any, command_line: Any) -> Any:
    """What bash completes a line with."""
    command_line.write("completes", COMPLETES)
    return lambda line: project("bash", "completes", line)


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("fal-core ver", ["version"]),
        ("fal-core executions ca", ["cancel"]),
        ("fal-core run --det", ["--detach"]),
        ("fal-core completion z", ["zsh"]),
        # Bash replaces what stands behind the last colon.
        ("fal-core run tasks.py::de", ["describe", "deliver"]),
        ("fal-core explain tasks.py:", [":describe", ":deliver"]),
        ("fal-core run tas", ["tasks.py::describe", "tasks.py::deliver"]),
        ("fal-core run tasks.py::describe --on no-such-h", [""]),
    ],
)
def test_bash_completes_commands_options_and_targets(
    complete: Any, line: str, candidates: list[str]
) -> None:
    """The script completes a line by what the program says."""
    assert complete(line) == candidates


def test_bash_completes_files_itself(complete: Any, command_line: Any) -> None:
    """Where several files may be meant, the script asks for the completion of bash."""
    assert complete("fal-core run ") == [""]
    assert (command_line.folder / "options").read_text() == "-o default\n"


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("fal-core ver", ["version:Print the versions of fal-core and of its plugins."]),
        ("fal-core run tasks.py::de", ["tasks.py::describe", "tasks.py::deliver"]),
        ("fal-core run ", ["files -f"]),
    ],
)
def test_zsh_completes_commands_targets_and_files(
    project: Any, command_line: Any, line: str, candidates: list[str]
) -> None:
    """The script gives zsh what the program says, with what commands do."""
    command_line.write("completes", COMPLETES_IN_ZSH)
    assert project("zsh", "-f", "completes", line) == candidates


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("fal-core ver", ["version\tPrint the versions of fal-core and of its plugins."]),
        ("fal-core run tasks.py::de", ["tasks.py::deliver", "tasks.py::describe"]),
        (
            "fal-core run --det",
            [
                "--detach\tStart it, print its reference and leave; it goes on without this "
                "process."
            ],
        ),
        ("fal-core run ta", ["tasks.py::deliver", "tasks.py::describe"]),
    ],
)
def test_fish_completes_commands_options_and_targets(
    project: Any, line: str, candidates: list[str]
) -> None:
    """The script gives fish what the program says, with the whole of what it does."""
    told = f"source ./script; complete -C '{line}'"
    assert project("fish", "--no-config", "-c", told) == candidates


def test_unknown_shell_is_refused(command_line: Any) -> None:
    """The error names the shells that are known."""
    done = command_line("completion", "csh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
