"""
Empty virtual environments, and whether they work where they end up.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fal_core.environments import LocalInterpreter
from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Builder, Evaluate


def test_empty_environment(build: Builder, evaluate: Evaluate) -> None:
    """
    An environment without requirements is empty.
    """
    interpreter = build(Virtualenv())
    assert (
        evaluate(interpreter, "importlib.util.find_spec('attrs')", "importlib.util") == "None"
    )
    assert any(message.endswith(" without requirements") for message in build.messages)


def test_scripts_and_modules_work_where_the_environment_ends_up(build: Builder) -> None:
    """
    Entry points and ``python -m`` work, and no file names the directory of the build.
    """
    interpreter = build(Virtualenv(requirements=["gamma"], compile_bytecode=True))
    programs = Path(interpreter.executable).parent
    code = "import gamma; gamma.main()"
    for command in ([f"{programs}/gamma"], [f"{programs}/python3", "-c", code]):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert answer.stdout == "gamma 3.1\n"
    command = [interpreter.executable, "-m", "gamma.__init__"]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    for path in programs.parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            assert b"/building/" not in content, path
            assert b"/seats/" not in content, path


def test_interpreter_starts_by_its_path(build: Builder) -> None:
    """
    The command is the environment's Python, and inherits file descriptors.
    """
    interpreter = build(Virtualenv())
    assert isinstance(interpreter, LocalInterpreter)
    assert interpreter.passes_fds
    assert os.path.isabs(interpreter.command(["-V"]).argv[0])
