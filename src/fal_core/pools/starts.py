"""Starts: what a host is given to start one worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, get_args

from fal_core.calling.launches import SILENCE
from fal_core.calls import Call
from fal_core.environments import Command, Environment, Interpreter, python_problem
from fal_core.errors import HostError
from fal_core.events import Event, Log, Phase, State
from fal_core.options import HostOptions
from fal_core.pools.waiting import WaitingCalls
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

if TYPE_CHECKING:
    from fal_core.claims import Claim
    from fal_core.machines import Device


class StartingPool(Protocol):
    """
    The pool that a worker is started for.

    Attributes:
        host: The name of its host.

        interpreter: That of the environment, once it is built.

        origin: The file of the functions, if they have secrets.

        serves: Whether a service is all that runs there.

        waiting: The calls that wait.

        due: How many of them the workers take that are being started.
    """

    host: str
    environment: Environment
    options: HostOptions
    interpreter: Interpreter | None
    origin: str | None
    serves: bool
    waiting: WaitingCalls

    @property
    def due(self) -> int: ...

    def is_wanted(self) -> bool:
        """Tell whether a worker that is being started is wanted."""


class Start:
    """
    The start of one worker, for calls that wait for it.

    Attributes:
        environment: The environment that the calls need.

        host_options: Their options.

        origin: The file of their functions, which secrets may be found beside.

        serves: Whether the worker is for one service alone.

        cancelled: Is set once no call waits any more, and the worker is not wanted.

        devices: Those that were claimed for the worker.
    """

    devices: Sequence[Device] = ()

    def __init__(self, pool: StartingPool) -> None:
        self.environment: Environment = pool.environment
        self.host_options: HostOptions = pool.options
        self.origin: str | None = pool.origin
        self.serves: bool = pool.serves
        self.cancelled: threading.Event = NotWanted(pool.is_wanted)
        self._pool = pool
        # Since when the host has said nothing. None while something else tells what it does.
        self._silent_since: float | None = time.monotonic()
        self._is_watched = False

    @property
    def call(self) -> Call | None:
        """The first call that waits. None where a worker is started before there is one."""
        return self._pool.waiting.first_call

    def build(self) -> Interpreter:
        """
        Build the environment, or find it built, and return its interpreter.

        The calls that wait are told the phases ``building`` and ``starting``, and get what
        the builder prints. It ends early once :attr:`cancelled` is set.

        Raises:
            EnvironmentBuildError: The environment cannot be built.

            Cancelled: Nobody waits any more.

            HostError: It has a Python that no worker runs on.
        """
        interpreter = self._pool.interpreter
        if interpreter is None:
            _check_python(getattr(self.environment, "python_version", None))
            # All calls that wait, wait for it.
            tell = self._pool.waiting.tell
            if not self.environment.is_built():
                tell(State("building"))
            with self._told():
                interpreter = self.environment.build(tell, self.cancelled)
            _check_python(interpreter.python_version)
            self._pool.interpreter = interpreter
        self.report(State("starting"))
        return interpreter

    def claim_devices(self, wait: float | None = None) -> Claim | None:
        """
        Claim the devices that the calls ask for; None if they ask for none that are known.

        While others hold them, the calls that wait are told so, and idle workers give way.
        It ends early once :attr:`cancelled` is set.

        Arguments:
            wait: Seconds to wait. None for as long as it takes.

        Raises:
            DevicesHeld: Others held them all the time.

            ClaimsUnavailable: The directory of claims cannot be used.

            Cancelled: Nobody waits any more.
        """
        options = self.host_options
        if not options.machine_names and options.num_gpus is None:
            return None
        from fal_core.claims import claim_devices, wants_of
        from fal_core.pools.giving_way import claimed

        wants = wants_of(options)
        if not wants:
            return None
        waits = False

        def make_room(uuids: Collection[str]) -> bool:
            nonlocal waits
            if not waits:
                waits = True
                self.report(State("queued"))
            return claimed.make_room(uuids)

        with self._told():
            claim = claim_devices(
                wants, wait=wait, cancelled=self.cancelled, say=self.say, make_room=make_room
            )
        self.devices = claim.devices
        if waits:
            self.report(State("starting"))
        return claim

    def report(self, event: Event) -> None:
        """
        Give *event*, a phase or a line, to the calls that wait for workers which are being
        started; others wait for those that run calls.

        Raises:
            TypeError: It is neither.

            ValueError: There is no such phase.
        """
        if not isinstance(event, State | Log):
            raise TypeError(f"A start reports a State or a Log, and was given {event!r}.")
        if isinstance(event, State) and event.name not in get_args(Phase):
            phases = ", ".join(get_args(Phase))
            raise ValueError(f"There is no phase {event.name!r}. The phases are {phases}.")
        if self._silent_since is not None:
            self._silent_since = time.monotonic()
        self._pool.waiting.tell(event, self._pool.due)

    def say(self, line: str) -> None:
        """
        Give a line of the host's own to the calls that wait.

        Raises:
            TypeError: It is no text.
        """
        if not isinstance(line, str):
            raise TypeError(f"A start says lines of text, and was given {line!r}.")
        self.report(Log(line, "STDERR", "BRIDGE", time.time()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say that the host is starting a worker if it says nothing for long meanwhile."""
        self._is_watched = True
        self._timer = get_event_thread().after(SILENCE, self._look)
        try:
            yield
        finally:
            self._is_watched = False
            get_event_thread().forget(self._timer)

    def _look(self) -> None:
        since = self._silent_since
        left = SILENCE if since is None else since + SILENCE - time.monotonic()
        if not self._is_watched or self.cancelled.is_set():
            return
        if left > 0.001:
            self._timer = get_event_thread().after(left, self._look)
            return
        self.say(
            f"Host {self._pool.host!r} has been starting a worker for {SILENCE:g} s: its begin "
            "has not returned."
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Leave it to what runs meanwhile to tell that it does."""
        self._silent_since = None
        try:
            yield
        finally:
            self._silent_since = time.monotonic()


def _check_python(version: str | None) -> None:
    if problem := python_problem(version):
        raise HostError(f"{problem} Choose another one, as with python_version.")


def no_worker(returned: object) -> str:
    """Return what *returned* is, which a host has returned in place of a worker."""
    if isinstance(returned, Command):
        return "Command. Write Worker.start(command)"
    if isinstance(returned, type):
        return f"the class {returned.__name__}"
    return type(returned).__name__.removesuffix("Type")


class NotWanted(threading.Event):
    """An event that is set once something is no longer wanted, and stays so."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._is_wanted = is_wanted

    def is_set(self) -> bool:
        if not super().is_set() and not self._is_wanted():
            self.set()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True


#: Starts a worker; it may take long.
Begin = Callable[[Start], Worker]
