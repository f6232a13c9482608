"""The calls of the reference host: each runs on a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from fal_core.calls import Call, Node
from fal_core.errors import Cancelled
from fal_core.events import (
    Credit,
    Event,
    Exited,
    HomeCall,
    Item,
    Level,
    Message,
    Outcome,
    Ready,
    Sealed,
    Sink,
    Started,
    State,
)
from fal_core_worker.nodes import add_note
from fal_core_worker.opening import values
from fal_core_worker.opening.exceptions import open_error
from fal_core_worker.running.outcomes import (
    LAZY,
    CallCancelled,
    send_error,
    send_item,
    send_items,
    send_value,
)
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import RAISED, VALUE, WINDOW
from fal_testing.hosts.in_process_runtime import at_home
from fal_testing.hosts.printing import CallPrinter, printed_by
from fal_testing.hosts.services import InProcessService, tell_when_reachable


class HasFunctions(Protocol):
    """A host, as far as its calls need it."""

    def find_function(self, call: Call) -> tuple[Any, Any]:
        """Return what to call, after the setup, and the function itself."""


class InProcessExecution:
    """
    A call that runs on a thread.

    Attributes:
        node: The node that it is, if it is one of several.

        service: Runs what the call serves.
    """

    def __init__(self, host: HasFunctions, call: Call, sink: Sink) -> None:
        self._host = host
        self._call = call.at_ports(0, 0) if call.gateway.serve else call
        self.node: Node | None = call.node
        self._sink = sink
        self._delivering = threading.RLock()
        self._ended = False
        self._cancelled = False
        self._credit = threading.Semaphore(WINDOW)
        self._answers: dict[int, tuple[bool, Sealed]] = {}
        self._answered = threading.Condition()
        self._calls_home = 0
        self._printer = CallPrinter(call, self.deliver)
        self._frames: Any = _Frames(self.deliver)
        self._raw: Any = None
        self._exited = threading.Event()
        self.service: InProcessService = InProcessService()

    # -- the execution -----------------------------------------------------------

    @property
    def reference(self) -> str:
        return self._call.id

    def send(self, message: Message) -> None:
        if isinstance(message, Credit):
            self._credit.release(message.count)
        else:
            with self._answered:
                self._answers[message.number] = message.raised, message.sealed
                self._answered.notify_all()

    def drain(self) -> None:
        self.deliver(State("draining"))
        self.service.drain()

    def cancel(self, grace: float) -> None:
        if self._ended or self._cancelled:
            return
        self._cancelled = True
        if self.service.cancel(grace):
            # A service can be ended; ``Exited`` follows once it has.
            return
        # A call that waits for its caller ends; any other is abandoned.
        self._credit.release()
        with self._answered:
            self._answered.notify_all()
        # The thread that cancels may hold a lock that the sink needs.
        end = Exited(reason=Cancelled())
        threading.Thread(target=self.deliver, args=(end,), daemon=True).start()

    # -- the thread ----------------------------------------------------------------

    def run(self) -> None:
        """Run the call from its first event to its last."""
        with at_home(self):
            self._run_to_its_end()

    def _run_to_its_end(self) -> None:
        # The setup is part of the start, but for a service, which tells when it is ready.
        port = self._call.gateway.exposed_port
        is_service = self._call.gateway.serve or port is not None
        self._starts = self._call.setup is not None and not is_service
        if not self._starts:
            self.deliver(State("running"))
        if port is not None and not self._call.gateway.serve:
            urls = {"run": f"http://127.0.0.1:{port}"}
            tell_when_reachable(urls["run"], lambda: self.announce(urls), self._exited)
        try:
            with printed_by(self._printer):
                self._run()
        except BaseException as error:
            self._printer.flush()
            if not self._cancelled:
                if self.node is not None:
                    add_note(error, self.node)
                send_error(self._frames, 0, error, self._raw)
        self._exited.set()
        self.deliver(Exited(reason=Cancelled() if self._cancelled else None))

    def _run(self) -> None:
        call = self._call
        function, self._raw = self._host.find_function(call)
        if self._starts:
            self.deliver(State("running"))
        arguments = values.open_arguments(_copy(call.arguments), self._raw)
        if call.batch:
            self._run_batch(function, arguments)
            value = None
        else:
            args, kwargs = arguments
            value = function(*args, **kwargs)
            if type(value) in LAZY:
                value = self.finish(value)
        self._printer.flush()
        send_value(self._frames, 0, value, self._raw)

    def _run_batch(self, function: Any, items: Any) -> None:
        for index, (args, kwargs) in enumerate(items):
            if self._cancelled:
                raise CallCancelled
            self.deliver(Started(index + 1))
            self._printer.index = index
            outcome: tuple[int, Any]
            try:
                value = function(*args, **kwargs)
                outcome = VALUE, self.finish(value) if type(value) in LAZY else value
            except BaseException as error:
                outcome = RAISED, values.seal_error(error, self._raw).data
            self._printer.flush()
            send_items(self._frames, 0, [outcome], index, self._raw)

    def finish(self, value: Any) -> Any:
        """Run the coroutine or the generator that the function returned."""
        import asyncio
        import inspect

        if inspect.iscoroutine(value):
            return asyncio.run(value)
        if not self._call.stream:
            raise TypeError(
                "The function returned a generator, which cannot travel. "
                "Make the isolated function itself a generator function."
            )
        if inspect.isasyncgen(value):
            return asyncio.run(self._send_async(value))
        try:
            return self._send_items(value)
        finally:
            value.close()

    def _send_items(self, items: Any) -> Any:
        """Send what a generator yields, and return what it returns."""
        index = 0
        while True:
            try:
                item = next(items)
            except StopIteration as end:
                return end.value
            self._send_item(item, index)
            index += 1

    async def _send_async(self, items: Any) -> None:
        import asyncio

        index = 0
        try:
            async for item in items:
                await asyncio.to_thread(self._send_item, item, index)
                index += 1
        finally:
            await items.aclose()

    def _send_item(self, item: Any, index: int) -> None:
        self._credit.acquire()
        if self._cancelled:
            raise CallCancelled
        self._printer.flush()
        send_item(self._frames, 0, item, index, self._raw)

    # -- what is reported ----------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Hand *event* to the sink, one at a time, and nothing after the end."""
        with printed_by(None), self._delivering:
            if not self._ended:
                self._ended = type(event) is Exited
                self._sink(event)

    def announce(self, urls: dict[str, str]) -> None:
        """Deliver that a service is ready at *urls*."""
        self.deliver(State("ready"))
        self.deliver(Ready(urls))

    def write(self, level: Level, line: str, logger: str | None = None) -> None:
        """Deliver a whole line that was written to the log, or a record of *logger*."""
        self._printer.write(level, f"{line}\n")

    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the caller run its function *number*, and wait for the result."""
        sealed = values.seal_value((number, args, kwargs), self._raw)
        with self._answered:
            self._calls_home = ticket = self._calls_home + 1
        self._printer.flush()
        self.deliver(HomeCall(ticket, _copy(sealed)))
        with self._answered:
            self._answered.wait_for(lambda: ticket in self._answers or self._cancelled)
            if self._cancelled:
                raise CallCancelled
            raised, answer = self._answers.pop(ticket)
        if raised:
            raise open_error(answer, {})
        return values.open_arguments(_copy(answer), self._raw)


def _copy(sealed: tuple[bytes, Sequence[Any]]) -> Sealed:
    """Return *sealed* with buffers of its own, which in the other are memory of the sender."""
    data, buffers = sealed
    return Sealed(data, tuple(bytearray(buffer) for buffer in buffers))


class _Frames:
    """Delivers the frames that a worker would write as events."""

    def __init__(self, deliver: Sink) -> None:
        self._deliver = deliver

    def send(
        self,
        kind: int,
        channel: int,
        a: int = 0,
        b: int = 0,
        data: bytes = b"",
        buffers: Sequence[Any] = (),
    ) -> None:
        sealed = _copy((data, buffers))
        if kind == frames.OUTCOME:
            self._deliver(Outcome(sealed, a == frames.ENDED_RAISED))
        else:
            self._deliver(Item(sealed, a, b))
