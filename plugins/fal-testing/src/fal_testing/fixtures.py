"""The fixtures of the conformance suite. A host's test file writes ``host``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import OptionError
from fal_core.hosts import Host
from fal_testing.harness.capabilities import missing_capabilities, needs_of_the_law, running
from fal_testing.harness.deadlines import deadline
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.notes import noted, told_so_far
from fal_testing.harness.promises import MISSING
from fal_testing.harness.recorders import Follow, Recorder
from fal_testing.hosts.watched import WatchedHost

#: Seconds that a law may take in all, in units of ``law_timeout``.
_LAW = 2.0


@pytest.fixture(scope="session")
def kind(host: Host[..., Any]) -> str:
    """The kind of environment of the laws' functions."""
    kinds = host.capabilities.kinds
    return "current" if kinds is None or "current" in kinds else min(kinds)


@pytest.fixture(scope="session")
def kind_options() -> dict[str, Any]:
    """The options that *kind* needs, such as the image of a container."""
    return {}


@pytest.fixture(scope="session")
def law_timeout() -> float:
    """Seconds to wait for something before a law counts it as missing."""
    return 60.0


@pytest.fixture
def isolated(host: Host[..., Any], kind: str, kind_options: dict[str, Any]) -> Isolated:
    """The decorator, with the host and the kind of environment filled in."""
    return partial(function, kind, host=host, on_unsupported="ignore", **kind_options)


@pytest.fixture
def served(isolated: Isolated, kind: str) -> Isolated:
    """
    The decorator for functions that the serving plugin serves, in an environment that takes
    what the server requires.
    """
    pytest.importorskip(
        "fal_serve", reason="No plugin that serves functions is installed: fal-serve."
    )
    served = partial(isolated, serve=True)
    try:
        served()(_serve_nothing).make_launcher(rehearsed=True)
    except OptionError as error:
        pytest.skip(f"Nothing can be served in an environment of kind {kind!r}: {error}")
    return served


def _serve_nothing() -> None:
    """Stand for a function that is served."""


@pytest.fixture
def marks(isolated: Isolated) -> Iterator[Marks]:
    """Lines that functions leave in a file on the machine of the host."""
    marks = Marks(isolated)
    yield marks
    with suppress(Exception):
        marks.remove()


@pytest.fixture
def watched(host: Host[..., Any]) -> WatchedHost:
    """The host, with a count of the calls that have not ended."""
    return WatchedHost(host)


@pytest.fixture
def follow(law_timeout: float) -> Iterator[Follow]:
    """Launch a call of an isolated function and return the recorder of its events."""
    recorders: list[Recorder] = []

    def follow(isolated: Any, *args: Any, **kwargs: Any) -> Recorder:
        recorder = Recorder(isolated.make_launcher())
        recorders.append(recorder)
        recorder.launch(*args, **kwargs)
        return recorder

    yield follow
    for recorder in recorders:
        if recorder.execution is not None and not recorder.ended:
            recorder.execution.cancel(0.1)


@pytest.fixture(autouse=True)
def _only_for_capable_hosts(request: pytest.FixtureRequest) -> None:
    law: Any = getattr(request, "function", None)
    if not getattr(law, "requires", ()):
        return
    host: Host[..., Any] = request.getfixturevalue("host")
    missing = missing_capabilities(law, host)
    if missing:
        listed = ", ".join(missing)
        request.node.user_properties.append((MISSING, missing))
        pytest.skip(f"Host {host.name!r} does not declare: {listed}.")


@pytest.fixture(autouse=True)
def _checks_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    # Also in the processes that a law starts.
    monkeypatch.setenv("FAL_CORE_STRICT", "1")


@pytest.fixture(autouse=True)
def _ends_by_itself(request: pytest.FixtureRequest) -> Iterator[None]:
    if "host" not in request.fixturenames:
        # A test of the same file that is no law.
        yield
        return
    law: Any = getattr(request, "function", None)
    host: Host[..., Any] = request.getfixturevalue("host")
    seconds = _LAW * float(request.getfixturevalue("law_timeout"))

    def tell() -> str:
        return f"{told_so_far()} {needs_of_the_law()}".strip()

    what = f"Law {request.node.name!r}"
    with running(law, host), noted(host), deadline(seconds, what, tell):
        yield
