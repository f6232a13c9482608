"""
What a host reports of a call while it runs.

A host hands each event to the sink it was given, in order, one at a time, from
any thread. Logs come before the outcome, and nothing follows :class:`Exited`.

The core's own sinks raise nothing. If the sink of a wrapper host raises, the call ends and
the exception is raised in the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import attrs

from fal_core.errors import HostError
from fal_core.reprs import show_fields

Level = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "STDOUT", "STDERR"]
Source = Literal["BUILDER", "BRIDGE", "USER"]
Phase = Literal["queued", "building", "starting", "running", "ready", "draining"]


class Sealed(NamedTuple):
    """
    A pickled object that hosts move and do not open.

    Attributes:
        data: One byte of version, one of flags, two for the sender's Python (major,
            minor), then a pickle of protocol 5.

        buffers: Large pieces of the pickle, and its out-of-band buffers, in order.
    """

    data: bytes
    buffers: Sequence[Any] = ()

    @property
    def contains_code(self) -> bool:
        """Whether it holds code, which only the Python minor that sealed it can open."""
        return bool(self.data[1] & 1)


@attrs.frozen
class State:
    """The phase that the call has entered."""

    __repr__ = show_fields

    name: Phase


@attrs.frozen
class Log:
    """
    One line of output, or one record of ``logging``.

    Attributes:
        message: The line, without its line end. For a record its whole text, the traceback
            included.

        level: ``STDOUT`` and ``STDERR`` for what was printed, otherwise the
            level of the record.

        source: ``BUILDER`` while the environment is built, ``BRIDGE`` for the
            host, ``USER`` for the function.

        time: Seconds since the epoch.

        call_id: The call that printed it. None if unknown, as for what native code
            prints in a worker that several calls share.

        request_id: The id of the request that was being answered when it was printed.

        partial: The line has not ended, as with a progress bar; *message* is the part
            written so far. The whole line follows once it ends, so readers of lines
            can skip partial ones, and a host need not report them.

        logger: The logger of a record, ``py.warnings`` for a warning. None for what was
            printed, and where a host reports records as lines.

        rank: The node that it comes from, of a call that runs on several. None for any other
            call, and for what belongs to no node.
    """

    __repr__ = show_fields

    message: str
    level: Level = "STDOUT"
    source: Source = "USER"
    time: float = 0.0
    call_id: str | None = None
    request_id: str | None = None
    partial: bool = False
    logger: str | None = None
    rank: int | None = None


@attrs.frozen
class Item:
    """
    A value of a stream, or outcomes of a batch.

    Attributes:
        sealed: For a stream the value. For a batch a list of *count* pairs
            ``(kind, value)``, whose kind says whether an item raised.

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

    A host reports it before :class:`Exited` at the latest: the core never runs items
    again that may have run.
    """

    __repr__ = show_fields

    count: int


@attrs.frozen
class Returned:
    """The items of a batch from *first* on were handed back and will not be started."""

    __repr__ = show_fields

    first: int


@attrs.frozen
class Ready:
    """The service can be reached at *urls*; ``run`` is the one to call."""

    __repr__ = show_fields

    urls: Mapping[str, str]


@attrs.frozen
class HomeCall:
    """
    The running function calls another isolated function.

    The launching process answers with a :class:`Reply`.
    """

    __repr__ = show_fields

    number: int
    sealed: Sealed


@attrs.frozen
class Outcome:
    """
    How the function ended: with a value, or *raised* with an exception.

    For a batch and a stream it comes after the last item. It holds None for a batch, and what
    the generator returns for a stream.
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

        reason: Why there is no outcome; None if there is one.
    """

    __repr__ = show_fields

    code: int | None = None
    signal: int | None = None
    reason: HostError | None = None


@attrs.frozen
class Reply:
    """The answer to :class:`HomeCall` *number*: what that function returned or *raised*."""

    __repr__ = show_fields

    number: int
    sealed: Sealed
    raised: bool = False


@attrs.frozen
class Credit:
    """Permission for a generator to yield *count* more items."""

    __repr__ = show_fields

    count: int


Event = State | Log | Item | Started | Returned | Ready | HomeCall | Outcome | Exited
Sink = Callable[[Event], None]
LogSink = Callable[[Log], None]
Message = Reply | Credit
