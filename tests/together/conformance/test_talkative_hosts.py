"""The conformance suite on hosts that have much to say themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import whole_hosts
from mutants.wrappers import Broken, Passing

from fal_core.calls import Call
from fal_core.events import Event, Exited, Log, Outcome, Sink
from fal_core.hosts import Execution, Host
from fal_host_local import LocalHost
from fal_testing import InProcessHost
from fal_testing.suite import *  # noqa: F403  # every law

host_program = whole_hosts.host_program

#: Groups that wait for lines, or count events.
LISTENING = {"logs", "events", "stream", "cancel", "multiplex", "map", "detach", "own servers"}

whole_hosts.keep_groups(globals(), LISTENING)


class Talkative(Broken):
    """A whole host that tells of everything it does, in lines of its own."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        sink(Log(f"Call {call.id} was launched.", "INFO", "BRIDGE"))
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        # Logs come before the outcome.
        if not passing.count and not isinstance(event, Exited):
            level: Any = "STDERR" if isinstance(event, Log) else "STDOUT"
            passing.send_on(Log(f"Next: {type(event).__name__}", level, "BRIDGE"))
        passing.count += isinstance(event, Outcome)
        passing.send_on(event)


@pytest.fixture(scope="session", params=[LocalHost, InProcessHost])
def host(request: pytest.FixtureRequest) -> Iterator[Host[..., Any]]:
    host = Talkative(request.param())
    yield host
    host.close()


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0
