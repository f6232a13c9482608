"""The bootstrap: a Python that is too old for a worker says so."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.environments import CurrentEnvironment, Environment, Interpreter, LocalInterpreter
from fal_core.errors import HostError
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities
from fal_core.plugins import registered
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker
from fal_testing import ProcessHost

#: Stands for Python 3.8 to whoever starts it with the arguments of a worker.
OLD_PYTHON = """\
#!{executable}
import sys
sys.version_info = (3, 8, 18, "final", 0)
sys.executable = __file__
exec(sys.argv[-1])
"""


def real_pythons() -> Iterator[Path]:
    """Yield old Pythons of this machine."""
    for minor in (6, 7, 8, 9):
        yield from sorted(
            Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/python")
        )


@pytest.fixture(params=["made", "real"])
def old_python(request: Any, tmp_path: Path) -> list[str]:
    """The paths of Pythons that are too old."""
    if request.param == "real":
        found = list(map(str, real_pythons()))
        if not found:
            pytest.skip("no Python older than 3.10 is installed")
        return found
    made = tmp_path / "python3.8"
    made.write_text(OLD_PYTHON.format(executable=sys.executable))
    made.chmod(0o755)
    return [str(made)]


@attrs.define(eq=False, slots=False)
class ElsewhereHost(WorkerHost):
    """Starts the Python that it is told."""

    name: ClassVar[str] = "elsewhere"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    python: str = sys.executable

    def begin(self, start: Start) -> Worker:
        return Worker.start((self.python, *ARGUMENTS))


@attrs.frozen(kw_only=True)
class OldEnvironment(CurrentEnvironment):
    """Has a Python of its own."""

    kind: ClassVar[str] = "old"

    python: str = sys.executable
    python_version: str | None = None
    told_version: str | None = None

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return LocalInterpreter(self.python, self.told_version)


class OldKinds:
    """A plugin that registers the kind."""

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [OldEnvironment]


@pytest.fixture(autouse=True)
def _kind() -> Iterator[None]:
    with registered(OldKinds()):
        yield


def give() -> int:
    return 1


def refusal_of(isolated: Any) -> str:
    """Return the error that a call ends with, without its class."""
    with pytest.raises(HostError) as caught:
        isolated()
    assert type(caught.value) is HostError
    return str(caught.value)


def test_an_old_python_says_so(old_python: list[str]) -> None:
    """A call ends with the version of the Python and what a worker needs, not with a lost worker."""
    for python in old_python:
        host = ElsewhereHost(python=python)
        told = refusal_of(function("current", host=host)(give))
        assert told.startswith(f"The Python at {python} is 3.")
        assert told.endswith(
            ", and a worker needs 3.10 or newer. Let the environment, or the host, start "
            "another one."
        )
        host.close()


def test_the_old_python_of_an_environment_says_so(old_python: list[str]) -> None:
    """The same is told where the environment brings the Python, by a call and by a future."""
    host = ProcessHost()
    isolated = function("old", host=host, python=old_python[0])(give)
    assert f"The Python at {old_python[0]} is 3." in refusal_of(isolated)
    assert f"The Python at {old_python[0]} is 3." in refusal_of(
        lambda: isolated.submit().result(60)
    )
    host.close()


@pytest.mark.parametrize("option", ["python_version", "told_version"])
def test_an_environment_with_an_old_python_starts_no_worker(option: str) -> None:
    """A version that is known before a worker starts is refused with what to write."""
    host = ProcessHost()
    isolated = function("old", host=host, **{option: "3.9"})(give)
    assert refusal_of(isolated) == (
        "The environment has Python 3.9, and a worker needs 3.10 or newer. Choose another "
        "one, as with python_version."
    )
    host.close()
