"""The start of a worker, and its output until it has started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import function

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_output_before_the_worker_starts_becomes_log_lines(tmp_path: Path):
    """A banner printed by a ``.pth`` file does not disturb the stream."""
    from fal_core.environments import CurrentEnvironment, LocalInterpreter

    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\necho "a banner"\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)

    class Banner(CurrentEnvironment):
        key = "banner"

        def build(self, log, cancelled):
            return LocalInterpreter(str(path), None)

    import attrs

    isolated = function("current")(inc)
    launcher = isolated.make_launcher()
    logs: list[object] = []
    ended = threading.Event()

    def sink(event: object) -> None:
        logs.append(event)
        if type(event).__name__ == "Exited":
            ended.set()

    call = attrs.evolve(launcher.call(((1,), {})), environment=Banner())
    isolated.host.launch(call, sink)
    assert ended.wait(60)
    messages = [event.message for event in logs if type(event).__name__ == "Log"]
    assert messages == ["a banner"]


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_last_words_of_a_python_that_does_not_start(tmp_path: Path, size: int):
    """
    The error of a call whose Python ended before its worker started has the output of
    that Python, even if the worker was not sent completely.
    """
    import attrs

    from fal_core.environments import CurrentEnvironment, LocalInterpreter
    from fal_core.events import Exited, Log

    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho 'last words' >&2\nexit 3\n")
    path.chmod(0o755)

    class Ending(CurrentEnvironment):
        key = f"ending {size}"

        def build(self, log, cancelled):
            return LocalInterpreter(str(path), None)

    isolated = function("current")(inc)
    events: list[object] = []
    ended = threading.Event()

    def sink(event: object) -> None:
        events.append(event)
        if isinstance(event, Exited):
            ended.set()

    call = isolated.make_launcher().call(((b"x" * size,), {}))
    isolated.host.launch(attrs.evolve(call, environment=Ending()), sink)
    assert ended.wait(60)
    messages = [event.message for event in events if isinstance(event, Log)]
    assert messages == ["last words"]
    assert isinstance(events[-1], Exited)
    assert "exited with code 3" in str(events[-1].reason)


INCREMENTS = """
from fal_core import function
@function("current")
def inc(x):
    import fal_core_worker
    print(fal_core_worker.__file__)
    return x + 1
print(inc(1))
"""


def test_a_source_cache_that_cannot_be_written_is_done_without(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    """Workers start from memory where their sources cannot be kept."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = {"FAL_CORE_CACHE": str(blocked / "cache"), "TMPDIR": str(blocked)}
    result = run_script(INCREMENTS, env={**os.environ, **cache})
    path, number = result.stdout.splitlines()
    assert (path.startswith("/proc/self/fd/"), number, result.stderr) == (True, "2", "")


def test_workers_expand_a_tilde_in_the_path_of_the_cache(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    """A tilde in the variable that names the cache is the home directory for workers too."""
    cache = {"FAL_CORE_CACHE": "~/kept", "HOME": str(tmp_path)}
    result = run_script(INCREMENTS, env={**os.environ, **cache}, cwd=tmp_path)
    path, number = result.stdout.splitlines()
    assert (number, result.stderr) == ("2", "")
    assert Path(path).is_relative_to(tmp_path / "kept" / "sources")
