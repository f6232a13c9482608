"""
``fal-core completion``: scripts for shells, and what they complete.
"""

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


@pytest.fixture
def complete(command_line: Any) -> Any:
    """
    What bash completes a line with.
    """
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
    command_line.write("script", command_line("completion", "bash").stdout)
    command_line.write("completes", COMPLETES)
    program = command_line.folder / "bin" / "fal-core"
    command_line.write(
        "bin/fal-core", f'#!/bin/sh\nexec {sys.executable} -m fal_core.cli "$@"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{command_line.variables['PATH']}"

    def run(line: str) -> list[str]:
        bash = shutil.which("bash")
        assert bash is not None
        done = subprocess.run(
            [bash, "completes", line],
            cwd=command_line.folder,
            env={**command_line.variables, "PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


@pytest.mark.skipif(shutil.which("bash") is None, reason="It is about bash.")
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
    """
    The script completes a line by what the program says.
    """
    assert complete(line) == candidates


@pytest.mark.skipif(shutil.which("bash") is None, reason="It is about bash.")
def test_bash_completes_files_itself(complete: Any, command_line: Any) -> None:
    """
    Where several files may be meant, the script asks for the completion of bash.
    """
    assert complete("fal-core run ") == [""]
    assert (command_line.folder / "options").read_text() == "-o default\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(command_line: Any, shell: str) -> None:
    """
    The script of each shell asks the program by a variable of its own.
    """
    done = command_line("completion", shell)
    assert done.returncode == 0
    assert f"_FAL_CORE_COMPLETE={shell}_complete" in done.stdout


def test_unknown_shell_is_refused(command_line: Any) -> None:
    """
    The error names the shells that are known.
    """
    done = command_line("completion", "csh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
