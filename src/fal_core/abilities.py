"""
Abilities: what a host may do beside running calls, and a kind of environment beside being
built.

A host is asked for one by :meth:`Host.ability <fal_core.hosts.Host.ability>`, so that a host
around a host has those of the inner one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.errors import UnsupportedError
from fal_core.reprs import show_fields

if TYPE_CHECKING:
    import threading

    from fal_core.environments import Environment
    from fal_core.events import Event, LogSink, Phase, Sink
    from fal_core.hosts import Execution, Host
    from fal_core.options import Gateway, HostOptions

End = Literal["returned", "raised", "cancelled", "failed"]

# -- launchers that trust no function ---------------------------------------------


class LimitedSink:
    """
    A sink around a sink, for a launcher that does not trust the function.

    A host prints nothing of such a function itself: lines that belong to no call are dropped.

    Attributes:
        largest: The largest event that it takes, in bytes. A host ends a service that
            sends a larger one, before it has been read.
    """

    def __init__(self, sink: Sink, largest: int) -> None:
        self._sink = sink
        self.largest = largest

    def __call__(self, event: Event) -> None:
        self._sink(event)


def limit_of(sink: Sink) -> int | None:
    """Return the largest event that *sink* takes, in bytes. None for any."""
    return sink.largest if isinstance(sink, LimitedSink) else None


# -- work that outlives its launcher --------------------------------------------


@attrs.frozen(kw_only=True)
class ExecutionStatus:
    """
    Detached work, as a host lists it.

    Attributes:
        phase: The last one that it entered; always ``ended`` once *ended* is true.

        started: Seconds since the epoch.

        ended: Whether it has ended.

        end: How: the function ``returned`` or ``raised``, it was ``cancelled``, or
            its host ``failed``. None while it runs, and where it is not known.

        error: The error of a host that failed, as its class and its sentence.

        owner: The program that the work belongs to; empty where it is the user's own.
    """

    __repr__ = show_fields

    reference: str
    name: str
    phase: Phase | Literal["ended"]
    started: float
    ended: bool = False
    end: End | None = None
    error: str = ""
    owner: str = ""

    def __attrs_post_init__(self) -> None:
        if self.ended:
            object.__setattr__(self, "phase", "ended")


class DetachingHost(ABC):
    """A :class:`Host` whose work can outlive the process that launched it."""

    @abstractmethod
    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        """
        Report detached work to *sink*, from its event number *after* on.

        Raises:
            HostError: There is no such work.
        """

    @abstractmethod
    def executions(self) -> Iterable[ExecutionStatus]:
        """List the detached work of this host."""


def detaching(host: Host[Any, Any]) -> DetachingHost:
    """
    Return *host*, if it detaches work.

    Raises:
        UnsupportedError: It detaches none.
    """
    found = host.ability(DetachingHost)
    if found is not None:
        return found
    raise UnsupportedError(host.name, "attach to detached work")


# -- networks -------------------------------------------------------------------


class IsolatingHost(ABC):
    """
    A :class:`Host` on this machine that can run calls in a network of their own.

    It does so where :attr:`Call.own_network <fal_core.calls.Call.own_network>` is set and
    :meth:`network_problem` has nothing to say, or the call fails.
    """

    @abstractmethod
    def network_problem(self) -> str:
        """
        Return why calls share the network of the machine, and what to do, as sentences.
        Empty where they can have their own.

        The first call may take a while, and those after it take no time.
        """


@attrs.frozen
class Tunnel:
    """
    How a connection to a service on another machine is opened, without a relay on this one.

    Attributes:
        host: The machine that is connected to.

        port: The port there.

        greeting: What is sent first. What is sent after it reaches the service.
    """

    host: str
    port: int
    greeting: bytes = attrs.field(repr=False)


class TunnellingHost(ABC):
    """
    A :class:`Host` of other machines, to whose services a program may connect by itself.

    The URLs that it reports are those of relays on this machine, which serve every program.
    One that sends many requests, such as a gateway, asks for the tunnel beside the relay.
    """

    @abstractmethod
    def find_tunnel(self, url: str) -> Tunnel | None:
        """
        Return how a connection is opened to the service behind *url*, which this host has
        reported. None where it has not, or the service has ended.
        """


# -- options ---------------------------------------------------------------------


class ConditionalHost(ABC):
    """
    A :class:`Host` that acts on some of its options only where it can, as where a machine
    has GPUs.
    """

    @abstractmethod
    def unmet(self, options: HostOptions, environment: Environment) -> Mapping[str, str]:
        """
        Return those of *options* that have no effect here on calls in *environment*, each
        with the reason as a sentence.

        The option ``on_unsupported`` of a function says what comes of it. It is asked
        before the first call of a function, and for ``fal-core explain``.
        """


class EnforcingHost(ABC):
    """A :class:`Host` that can hold calls to the limits of the machine type that they declare."""

    @abstractmethod
    def enforcing(self) -> Host[Any, Any]:
        """Return a host like this one that does so."""


@attrs.frozen(kw_only=True)
class Usage:
    """
    What a call has used.

    Attributes:
        memory: The most bytes of main memory, its child processes included.

        processor_seconds: The time that processors have spent on it, the start of its
            worker included.

        gpu_memory: The most bytes of memory of its GPUs. None where it had none, or nobody
            knows.
    """

    __repr__ = show_fields

    memory: int = 0
    processor_seconds: float = 0.0
    gpu_memory: int | None = None

    def or_more(self, other: Usage) -> Usage:
        """Return the larger of each field of this and of *other*."""
        known = [each.gpu_memory for each in (self, other) if each.gpu_memory is not None]
        return Usage(
            memory=max(self.memory, other.memory),
            processor_seconds=max(self.processor_seconds, other.processor_seconds),
            gpu_memory=max(known, default=None),
        )


class MeasuringHost(ABC):
    """A :class:`Host` that can tell what calls have used."""

    @abstractmethod
    def measuring(self) -> Host[Any, Any]:
        """Return a host like this one that measures. It has this ability as well."""

    @abstractmethod
    def read_usage(self) -> Usage:
        """End the workers of a host that measures, and return the most that any has used."""


# -- speed ----------------------------------------------------------------------


class AnticipatingHost(ABC):
    """A :class:`Host` that can start a worker before the call arrives."""

    @abstractmethod
    def expect(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        """
        Prepare for a first call, whose function is being sealed meanwhile.

        It returns at once and raises nothing: the call reports what is wrong.

        Arguments:
            origin: The file that the function was written in, where the environment has a
                file system of its own.
        """


class Driver(ABC):
    """
    A sink of a call that a thread waits for.

    That thread delivers the events of a :class:`Driven` execution itself, so its host
    may keep them until :meth:`Driven.drive` is called.

    Attributes:
        left_to_driver: Set by what keeps events of the call until it is driven, such as a
            worker: a call whose execution is not driven would never end.
    """

    left_to_driver: bool = False

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Take *event*."""


class Driven(ABC):
    """An execution whose events the waiting thread can deliver, which saves a switch of threads."""

    __slots__ = ()

    @abstractmethod
    def drive(self, timeout: float | None) -> None:
        """
        Deliver events on this thread until ``Exited``, or for *timeout* seconds.

        It returns early where another thread delivers them already.
        """


# -- environments that can be written down -----------------------------------------


class LockingEnvironment(ABC):
    """
    An environment that says which packages it has, so that it can be built the same elsewhere.

    Attributes:
        lock_name: What its lock is called by default, as in ``pylock.toml``.
    """

    lock_name: ClassVar[str]

    @abstractmethod
    def lock(self, log: LogSink, cancelled: threading.Event) -> Mapping[str, str]:
        """
        Build the environment unless it is built, and return the texts of its lock and of the
        files beside it. Each has what its name ends with in place of the lock's own ending;
        for the lock that is an empty text.

        Raises:
            EnvironmentBuildError: It cannot be built, or not be written down.

            Cancelled: *cancelled* was set.
        """
