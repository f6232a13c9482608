"""
What a host reports of a call while it runs.

A host hands each event to the sink it was given, in order, one at a time, from
any thread. Logs come before the outcome, and nothing follows :class:`Exited`.

The core's own sinks raise nothing. That of a host around a host may: where a worker
tells it, what it raises ends the call, and is raised where the call is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from fal_core.errors import HostError
from fal_core.reprs import show_fields
from fal_core_worker.opening.seals import Sealed

Level = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "STDOUT", "STDERR"]
Source = Literal["BUILDER", "BRIDGE", "USER"]
Phase = Literal["queued", "building", "starting", "running", "ready", "draining"]


@attrs.frozen
class State:
    """
    The phase that the call has entered.
    """

    __repr__ = show_fields

    name: Phase


@attrs.frozen
class Log:
    """
    One line of output.

    Attributes:
        message: The line, without its line end.

        level: ``STDOUT`` and ``STDERR`` for what was printed, otherwise the
            level of the record.

        source: ``BUILDER`` while the environment is built, ``BRIDGE`` for the
            host, ``USER`` for the function.

        time: Seconds since the epoch.

        call_id: The call that printed it. None where that cannot be known: the
            output below Python of a worker that several calls share.

        request_id: Of the request that a service answered when it was printed.

        partial: The line has not ended: *message* is what is seen of it so far,
            as of a progress bar. The line comes whole as it ends, whatever was
            shown of it before, so whoever wants lines leaves these out, and a
            host may as well.
    """

    __repr__ = show_fields

    message: str
    level: Level = "STDOUT"
    source: Source = "USER"
    time: float = 0.0
    call_id: str | None = None
    request_id: str | None = None
    partial: bool = False


@attrs.frozen
class Item:
    """
    A value of a stream, or outcomes of a batch.

    Attributes:
        sealed: For a stream the value. For a batch a list of *count* pairs
            ``(raised, value)``.

        first: The index in the batch, or in the stream, of the first.

        count: How many there are.
    """

    __repr__ = show_fields

    sealed: Sealed
    first: int = 0
    count: int = 1


@attrs.frozen
class Started:
    """
    The first *count* items of a batch have been started.

    A host reports it at the latest before :class:`Exited`, so that items which
    may have run are never run again unasked.
    """

    __repr__ = show_fields

    count: int


@attrs.frozen
class Returned:
    """
    The items of a batch from *first* on were handed back and will not be started.
    """

    __repr__ = show_fields

    first: int


@attrs.frozen
class Ready:
    """
    The service can be reached at *urls*; ``run`` is the one to call.
    """

    __repr__ = show_fields

    urls: Mapping[str, str]


@attrs.frozen
class HomeCall:
    """
    The running function calls another isolated function.

    The launching process answers it through :meth:`Execution.send`.
    """

    __repr__ = show_fields

    number: int
    sealed: Sealed


@attrs.frozen
class Outcome:
    """
    How the function ended: with a value, or *raised* with an exception.

    For a batch and a stream it comes after the last item, and holds None.
    """

    __repr__ = show_fields

    sealed: Sealed
    raised: bool = False


@attrs.frozen
class Exited:
    """
    The end of the call on this host; the last event.

    Attributes:
        code: The exit code of a process that served this call alone.

        signal: The signal that ended it.

        reason: Why there is no outcome. None where there is one.
    """

    __repr__ = show_fields

    code: int | None = None
    signal: int | None = None
    reason: HostError | None = None


Event = State | Log | Item | Started | Returned | Ready | HomeCall | Outcome | Exited
Sink = Callable[[Event], None]
LogSink = Callable[[Log], None]
