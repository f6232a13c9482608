"""Following detached work from another process."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

from fal_core.abilities import detaching
from fal_core.calling.launcher import Launcher
from fal_core.calling.spawning import SpawnFuture, SpawnSink
from fal_core.events import HomeCall
from fal_core.hosts import Host
from fal_core.sealing.opener import Opener
from fal_core.sinks.call_sinks import OpeningSink
from fal_core.spawns import SpawnInfo


class Launches(Protocol):
    """An isolated function, as far as its calls are followed."""

    def make_launcher(self) -> Launcher: ...


def attach(
    host: Host[Any, Any] | str,
    reference: str,
    function: Launches | None = None,
    *,
    after: int = 0,
) -> SpawnInfo:
    """
    Follow detached work on *host*, as if this process had spawned it.

    Arguments:
        reference: The name of the work there, as ``SpawnInfo.reference`` gives it.

        function: The isolated function that was spawned, if its classes are needed to
            open the result.

        after: How many events to leave out because they were seen already.

    Raises:
        HostError: There is no such work, or the host detaches none.
    """
    from fal_core.declaring.named_hosts import to_host

    place = to_host(host)
    future = SpawnFuture()
    future.host = place.name
    info = SpawnInfo(future)
    if function is None:
        opener = Opener(name="the detached call", host=place.name)
        sink = SpawnSink(info, future, opener, partial(_answer, place))
    else:
        launcher = function.make_launcher()
        sink = SpawnSink(info, future, launcher.opener, launcher.answer)
    info.stream = future.execution = detaching(place).attach(reference, sink, after)
    sink.follow(info.stream)
    return info


def _answer(host: Host[Any, Any], call: HomeCall, sink: OpeningSink) -> None:
    """Answer a call that a function makes which this process does not know."""
    from fal_core.calling.home_calls import answer_home_call

    seal = SimpleNamespace(name="the detached call", by_value=None, classes=frozenset())
    answer_home_call(call, sink, seal, host)
