"""Workers that are not ready in time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import HostError, StartupTimeout, function
from fal_core.environments import CurrentEnvironment, LocalInterpreter
from fal_core.hooks import hookimpl
from fal_core.plugins.installed import registered
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until

#: How long startups may take: the second where a busy machine has not come as far as the
#: setup in the first.
SECONDS = (1.5, 20)


def make_load(path: Path, seconds: float) -> Any:
    """Return a setup that says in which process it runs, and takes *seconds*."""
    name = str(path)

    def load() -> int:
        import os
        import time

        with open(name, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(seconds)
        return os.getpid()

    return load


@pytest.mark.parametrize("multiplexing", [None, 2])
def test_a_setup_that_takes_too_long_ends_the_call_and_the_worker(
    host: LocalHost, tmp_path: Path, multiplexing: int | None
) -> None:
    """``startup_timeout`` holds for the setup: the error says so, and nothing is left."""

    path = tmp_path / "pid"
    for seconds in SECONDS:

        @function(
            "current",
            host=host,
            setup_function=make_load(path, 600),
            startup_timeout=seconds,
            max_multiplexing=multiplexing,
        )
        def give(loaded: int) -> int:
            return loaded

        with pytest.raises(StartupTimeout, match=f"startup_timeout of {seconds} s") as caught:
            give()  # type: ignore[call-arg]  # the setup gives the first
        assert isinstance(caught.value, HostError)
        if path.exists() and path.read_text():
            break
    pid = int(path.read_text())
    assert wait_until(lambda: not is_alive(pid), 30)


def test_only_the_startup_is_limited(host: LocalHost, tmp_path: Path) -> None:
    """Calls of a worker that is ready may take longer than its startup."""

    for seconds in SECONDS:

        @function(
            "current",
            host=host,
            setup_function=make_load(tmp_path / "pid", 0.0),
            startup_timeout=seconds,
            max_concurrency=1,
            keep_alive=60,
        )
        def wait(loaded: int, seconds: float) -> bool:
            time.sleep(seconds)
            return loaded == os.getpid()

        try:
            assert wait(0.0) is True  # type: ignore[call-arg]  # the setup gives the first
        except StartupTimeout:
            if seconds == SECONDS[-1]:
                raise
            continue
        assert wait(seconds + 0.5) is True  # type: ignore[call-arg]  # as above
        assert wait(0.0) is True  # type: ignore[call-arg]  # as above
        return


@attrs.frozen(kw_only=True)
class Sleepy(CurrentEnvironment):
    """A Python that never starts."""

    kind: ClassVar[str] = "sleepy"

    program: str

    def build(self, log: Any, cancelled: Any) -> LocalInterpreter:
        return LocalInterpreter(self.program)


def test_a_worker_that_does_not_start_ends_the_call(host: LocalHost, tmp_path: Path) -> None:
    """``startup_timeout`` holds for the start of the worker."""
    path = tmp_path / "pid"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {path}\nexec sleep 600\n")
    program.chmod(0o755)
    plugin: Any = ModuleType("sleepy")
    plugin.fal_core_api = 1
    plugin.fal_register_environments = hookimpl(lambda: [Sleepy])
    with registered(plugin):
        for seconds in SECONDS:

            @function("sleepy", host=host, program=str(program), startup_timeout=seconds)
            def give() -> int:
                return 1

            with pytest.raises(StartupTimeout):
                give()
            if path.exists() and path.read_text():
                break
    pid = int(path.read_text())
    assert wait_until(lambda: not is_alive(pid), 30)
