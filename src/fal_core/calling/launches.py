"""
Launches: what starts a call on its host, and how much of what the host does is checked.

On a host that others have written nobody waits longer for that than a call is wanted.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fal_core.calling.late_executions import LateExecution
from fal_core.errors import Cancelled, FalCoreError, HostError
from fal_core.events import Event, Exited, Log, Message
from fal_core.sinks.call_sinks import GRACE, LaunchFailed
from fal_core.sinks.event_thread import get_event_thread, report_failure
from fal_core.sinks.sinks_around import SinkAround

if TYPE_CHECKING:
    from fal_core.calling.attempts import Launch
    from fal_core.calls import Call
    from fal_core.events import Sink
    from fal_core.hosts import Execution, Host

#: The variable that has every event of every host checked, but where it is 0.
STRICT_VARIABLE = "FAL_CORE_STRICT"

#: Seconds after which a line says that a launch, or the start of a worker, has not returned.
SILENCE = 5.0

#: Seconds between two looks at whether the call is still wanted.
_LOOK = 0.05


def find_launch(host: Host[..., Any], name: str) -> tuple[Launch, Launch]:
    """
    Return what launches a call on *host* and waits for that, and what does not wait: with all
    its events checked, if that is asked.

    The launch of a host of fal-core's own is not waited for by either.

    Arguments:
        name: What the host is called in messages.
    """
    launch: Launch = host.launch
    is_own = str(getattr(launch, "__module__", "")).startswith(("fal_core.", "fal_testing."))
    if os.environ.get(STRICT_VARIABLE, "0") not in ("", "0"):
        from fal_core.sinks.strict_sinks import launch_strictly

        launch = partial(_launch, partial(launch_strictly, host, name), name)
    elif not is_own:
        launch = partial(_launch, launch, name)
    # One of ours names what the methods of a subclass raise by itself.
    if is_own:
        return launch, launch
    return (
        partial(launch_and_wait, launch, name),
        partial(launch_in_turn, launch, name, LaunchQueue()),
    )


def _launch(launch: Launch, name: str, call: Call, sink: Sink) -> Execution:
    try:
        return launch(call, sink)
    except FalCoreError:
        raise
    except Exception as error:
        from fal_core.sinks.breaches import failure_of

        raise failure_of(name, "launch", error) from error


class LaunchQueue:
    """
    Launches that are made one after the other, on a thread that there is while some wait.

    One that does not return holds up the others until :meth:`go_on` is called.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._current: Callable[[], None] | None = None

    def put(self, launch: Callable[[], None]) -> None:
        """Make *launch* when its turn has come."""
        if self._process != os.getpid():
            # A forked child has launches of its own, and no thread yet.
            LaunchQueue.__init__(self)
        with self._lock:
            self._waiting.append(launch)
        try:
            self.go_on()
        except RuntimeError:
            # Python is ending, or starts no more threads.
            with self._lock:
                launch = self._current = self._waiting.popleft()
            self._run(launch)

    def go_on(self, stuck: Callable[[], None] | None = None) -> None:
        """
        Make what waits on a new thread, unless another launch than *stuck* is being made.

        Raises:
            RuntimeError: No thread can be started.
        """
        with self._lock:
            if self._current is not stuck:
                return
            launch = self._waiting[0] if self._waiting else None
            if launch is not None:
                threading.Thread(
                    target=self._run, args=(launch,), name="fal-core launch", daemon=True
                ).start()
                self._waiting.popleft()
            self._current = launch

    def _run(self, launch: Callable[[], None] | None) -> None:
        while launch is not None:
            try:
                launch()
            except BaseException as error:
                # A sink has raised. The launches after it are those of other calls.
                report_failure(error)
            with self._lock:
                if self._current is not launch:
                    # Another thread has gone on.
                    return
                launch = self._current = self._waiting.popleft() if self._waiting else None


class Launching(LateExecution, SinkAround):
    """
    The execution of a call that is launched on a thread of its own, and the sink around its
    sink.

    A call that is cancelled while its host launches it ends after its grace, even if the
    launch has not returned. If it returns later, what it has begun is cancelled.

    Arguments:
        host: What the host is called in messages.

    Attributes:
        has_begun: Whether the launch has.
    """

    def __init__(self, host: str, call: Call, sink: Sink) -> None:
        LateExecution.__init__(self, call.id)
        SinkAround.__init__(self, sink)
        self._host = host
        self._name = call.name
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._is_waited_for = False
        self.has_begun = False
        self._has_ended = self._is_given_up = False
        # The event thread and the host's may both deliver an event.
        self._delivering = threading.RLock()

    @property
    def has_returned(self) -> bool:
        """Whether the launch has returned, or raised."""
        return self._done.is_set()

    def __call__(self, event: Event) -> None:
        with self._delivering:
            if not self._is_given_up:
                self._has_ended = self._has_ended or type(event) is Exited
                SinkAround.__call__(self, event)

    def begin(self, launch: Launch, call: Call, queue: LaunchQueue | None = None) -> None:
        """
        Launch *call*.

        Arguments:
            queue: The launches that come before it; what it raises is the end of the call.
                None where it has a thread of its own, and :meth:`wait` raises that.
        """
        self._is_waited_for = queue is None

        def run() -> None:
            if self.cancelled:
                with self._delivering:
                    self._give_up()
                return
            self.has_begun = True
            timer = get_event_thread().after(SILENCE, partial(self._on_time, self._say))
            try:
                execution = launch(call, self.for_host())
                self.check_execution(execution)
            except BaseException as error:
                self._fail(error)
            else:
                self._settle_launched(execution)
            finally:
                self._done.set()
                get_event_thread().forget(timer)

        queue = queue or LaunchQueue()
        entry = partial(contextvars.copy_context().run, run)
        self._let_others = partial(queue.go_on, entry)
        queue.put(entry)

    def wait(self) -> Execution:
        """Wait until the call is launched, or has ended, and return its execution."""
        try:
            while not self._done.wait(_LOOK):
                if self.ended:
                    self._is_waited_for = False
                    # What is launched late is not wanted, unless it has ended by itself.
                    self.cancelled: bool = not self._has_ended
                    self.settle(None)
                    return self
        except BaseException:
            # Nothing is left running when the caller is interrupted.
            self.cancel(GRACE)
            self._done.wait(GRACE)
            raise
        if self._error is not None:
            raise self._error
        return self if self.inner is None else self.inner

    def _settle_launched(self, execution: Execution) -> None:
        try:
            self.settle(execution)
        except Exception as error:
            # It was settled without one before, and cancelled: nobody is there to be told.
            self._log_cancel(error)

    def send(self, message: Message) -> None:
        self._pass_on(lambda inner: self._ask(inner, inner.send, message))

    def drain(self) -> None:
        self._pass_on(lambda inner: self._ask(inner, inner.drain))

    def cancel(self, grace: float) -> None:
        self._grace = grace
        self.cancelled = True
        self._pass_on(lambda inner: self._ask(inner, inner.cancel, grace))
        if not self._done.is_set():
            get_event_thread().after(grace, partial(self._on_time, self._give_up))

    def _ask(self, inner: Execution, method: Callable[..., object], *arguments: Any) -> None:
        """
        Ask *inner* for something. If that was kept, nobody is told what it raises: the call
        ends.
        """
        try:
            method(*arguments)
        except Exception as error:
            if self._requests is None:
                raise
            self._fail_kept(inner, method.__name__, error)

    def _fail_kept(self, inner: Execution, method: str, error: Exception) -> None:
        from fal_core.sinks.requests import failure_in, try_cancel

        reason: HostError = Cancelled()
        if method == "cancel":
            self._log_cancel(error)
        else:
            reason = (
                error if isinstance(error, HostError) else failure_in(self._host, method, error)
            )
            try_cancel(self._host, inner, GRACE)
        with self._delivering:
            try:
                if not (self._is_given_up or self.ended):
                    self(Exited(reason=reason))
            finally:
                self._is_given_up = True

    def _log_cancel(self, error: Exception) -> None:
        from fal_core.sinks.breaches import log_breach, raised_in

        log_breach(
            self._host, raised_in("cancel", error), kind=f"cancel {type(error).__name__}"
        )

    def _on_time(self, action: Callable[[], None]) -> None:
        """
        Do *action* on the event thread, unless the launch has returned.

        That waits for no event which is being handled: no other call goes on meanwhile.
        """
        if self._done.is_set():
            return
        if self.has_begun:
            # Where no thread can be started, they wait on.
            with suppress(RuntimeError):
                self._let_others()
        if not self._delivering.acquire(blocking=False):
            get_event_thread().after(_LOOK, partial(self._on_time, action))
            return
        try:
            action()
        finally:
            self._delivering.release()

    def _give_up(self) -> None:
        if self._done.is_set() or self._is_given_up or self.ended:
            return
        late = f"Host {self._host!r} has not returned from its launch."
        try:
            self(Exited(reason=Cancelled(late if self.has_begun else "")))
        finally:
            self._is_given_up = True
            self.settle(None)

    def _fail(self, error: BaseException) -> None:
        if self._is_waited_for:
            self._error = error
            return
        if not isinstance(error, HostError):
            error = LaunchFailed(f"{type(error).__name__}: {error}", error)
        try:
            self(Exited(reason=error))
        finally:
            self.settle(None)

    def _say(self) -> None:
        if not self._done.is_set():
            said = (
                f"Host {self._host!r} has been launching a call of {self._name!r} for "
                f"{SILENCE:g} s: its launch has not returned."
            )
            self(Log(said, "WARNING", "BRIDGE", time.time()))


def find_launching(execution: Execution | None) -> Launching | None:
    """Return the launch of *execution* that has not returned, if it has one."""
    while isinstance(execution, LateExecution) and execution.inner is not None:
        execution = execution.inner
    if isinstance(execution, Launching) and not execution.has_returned:
        return execution
    return None


def launch_and_wait(launch: Launch, host: str, call: Call, sink: Sink) -> Execution:
    """
    Launch *call* and wait for that, as long as the call has not ended.

    Arguments:
        host: What the host is called in messages.
    """
    if get_event_thread().is_current_thread():
        # No other call goes on while that waits.
        return launch_in_turn(launch, host, LaunchQueue(), call, sink)
    launching = Launching(host, call, sink)
    launching.begin(launch, call)
    return launching.wait()


def launch_in_turn(
    launch: Launch, host: str, queue: LaunchQueue, call: Call, sink: Sink
) -> Execution:
    """
    Launch *call* after those before it, without waiting for that: what the launch raises ends
    the call.

    Arguments:
        host: What the host is called in messages.
    """
    launching = Launching(host, call, sink)
    launching.begin(launch, call, queue)
    return launching
