"""The directory of a build is removed, however the build ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fal_core.environments import LocalInterpreter
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import STORE
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import Builder, BuildsIn, Evaluate, ProcessesBelow, Project


def test_empty_environment(build: Builder, evaluate: Evaluate) -> None:
    """An environment without requirements is empty."""
    interpreter = build(Virtualenv())
    assert (
        evaluate(interpreter, "importlib.util.find_spec('attrs')", "importlib.util") == "None"
    )
    assert any(message.endswith(" without requirements") for message in build.messages)


def test_scripts_and_modules_work_where_the_environment_ends_up(build: Builder) -> None:
    """Entry points and ``python -m`` work, and no file names the directory of the build."""
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
    """The command is the environment's Python, and inherits file descriptors."""
    interpreter = build(Virtualenv())
    assert isinstance(interpreter, LocalInterpreter)
    assert interpreter.channel == "inherited"
    assert os.path.isabs(interpreter.command(["-V"]).argv[0])


pytestmark = pytest.mark.faults

#: A tenth of the sweep runs by default.
KILLS = 20 if os.environ.get("FAL_CORE_FAULTS") == "all" else 2


INTERRUPTED = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    environment = Virtualenv(requirements=[sys.argv[1]])
    build = threading.Thread(
        target=environment.build, args=(print, threading.Event()), daemon=True
    )
    threading.excepthook = lambda _: None
    build.start()
    sys.stdin.readline()
"""


def test_build_of_a_process_that_ends_leaves_nothing(
    cache: Path,
    project: Project,
    started: Path,
    tmp_path: Path,
    monkeypatch: Any,
    run_python: Callable[..., subprocess.Popen[str]],
    builds_in: BuildsIn,
) -> None:
    """A process that ends while one of its threads builds ends the build, and cleans up first."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    process = run_python(INTERRUPTED, str(project.path))
    assert wait_until(started.exists, 60)
    assert list((cache / "building").iterdir())
    process.communicate("end\n", timeout=60)
    assert process.returncode == 0
    assert list((cache / "building").iterdir()) == []
    assert builds_in(tmp_path / "uv") == []


KILLED = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    environment = Virtualenv(requirements=[["gamma"], ["beta"]], tags=[sys.argv[1]])
    print("ready", flush=True)
    environment.build(lambda line: None, threading.Event())
    print("built", flush=True)
    sys.stdin.readline()
"""


def test_killed_build_is_not_taken_for_finished(
    build: Builder,
    cache: Path,
    evaluate: Evaluate,
    run_python: Callable[..., subprocess.Popen[str]],
    processes_below: ProcessesBelow,
) -> None:
    """A build that is killed at any moment leaves nothing that is wrong, and the next one works."""
    points = random.Random(20)
    for point in range(KILLS):
        process = run_python(KILLED, str(point))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(points.uniform(0, 0.2))  # The kill comes at any moment of the build.
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        environment = Virtualenv(requirements=[["gamma"], ["beta"]], tags=[str(point)])
        interpreter = build(environment)
        found = "gamma.version, beta.version, alpha_one.version"
        assert evaluate(interpreter, found, "gamma beta alpha_one") == "3.1 1.0 1.0"
        assert wait_until(lambda: not processes_below(cache), 60)
        # A dying uv may have written something after the next build removed its leftovers.
        STORE.leftovers(dry_run=False)
        assert list((cache / "building").iterdir()) == []
        assert list((cache / "trash").iterdir()) == []
