"""
A plugin of pytest for the tests of those who use fal-core.

It is switched on by a line in ``conftest.py``::

    pytest_plugins = ["fal_testing.plugin"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar, TypeVar, overload

import attrs
import pytest

from fal_core.functions import IsolatedFunction
from fal_core.hosts import Capabilities
from fal_testing.hosts.in_process import InProcessHost

#: The marker of tests whose functions run where they are declared to.
MARKER = "real_environment"

_Function = TypeVar("_Function", bound="IsolatedFunction[..., Any]")


@attrs.define(eq=False, slots=False)
class InThisProcessHost(InProcessHost):
    """Runs functions of any kind on threads of this process, and builds nothing for them."""

    name: ClassVar[str] = "in-process"
    capabilities: ClassVar[Capabilities] = attrs.evolve(InProcessHost.capabilities, kinds=None)


class InProcess:
    """
    The fixture ``in_process``: functions that run in the process of the tests.

    Arguments:
        host: Where they run; None leaves each where it is declared to run.
    """

    def __init__(
        self, host: InProcessHost | None, replace: Callable[[Any, str, Any], None]
    ) -> None:
        self._host = host
        self._replace = replace

    @overload
    def __call__(self, target: _Function) -> _Function: ...

    @overload
    def __call__(self, target: ModuleType) -> ModuleType: ...

    def __call__(self, target: Any) -> Any:
        """
        Return an isolated function that runs in this process, or a module whose isolated
        functions do so until the test ends.

        Raises:
            TypeError: *target* is something else.
        """
        if isinstance(target, ModuleType):
            for name, value in list(vars(target).items()):
                if isinstance(value, IsolatedFunction):
                    self._replace(target, name, self(value))
            return target
        if not isinstance(target, IsolatedFunction):
            raise TypeError(
                f"in_process takes an isolated function or a module that has some, not "
                f"{target!r}."
            )
        if self._host is None:
            return target
        return target.on(self._host, on_unsupported="ignore")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: functions run where they are declared to, each in its own environment, "
        "and not in the process of the tests",
    )


@pytest.fixture(scope="session")
def in_process_host() -> Iterator[InProcessHost]:
    """
    A host that runs functions on threads of the process of the tests.

    It takes functions of any kind and builds no environment, so that what they import has to
    be installed for the tests.
    """
    host = InThisProcessHost()
    yield host
    host.close()


@pytest.fixture
def in_process(
    request: pytest.FixtureRequest,
    in_process_host: InProcessHost,
    monkeypatch: pytest.MonkeyPatch,
) -> InProcess:
    """
    Make functions run in the process of the tests: ``in_process(function)(argument)``.

    In a test with the marker ``real_environment`` they run where they are declared to.
    """
    real = request.node.get_closest_marker(MARKER) is not None
    return InProcess(None if real else in_process_host, monkeypatch.setattr)
