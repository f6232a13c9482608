"""What runs calls in a worker, as far as it is the same for one call at a time and for many."""

from __future__ import annotations

# ``signal`` is slow to import.
import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import marshal
import mmap
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType, FrameType

from fal_core_worker import trees
from fal_core_worker.opening import origins, values
from fal_core_worker.opening.exceptions import open_error
from fal_core_worker.opening.seals import Sealed
from fal_core_worker.output.capture import Output
from fal_core_worker.running.outcomes import CallCancelled, restore_builtins, send_item
from fal_core_worker.running.owners import StartedThreads
from fal_core_worker.running.slots import Functions, KeptFunction
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import WINDOW
from fal_core_worker.stream.payloads import pack_texts

#: How many calls keep their nodes once they have ended: threads may go on that ask for them.
_MOST_NODES = 100

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from fal_core_worker.nodes import Node
    from fal_core_worker.stream.streams import FrameStream


class Executor(ABC):
    """Runs the calls of a worker. It is the runtime of the worker's process."""

    address: str | None = None

    def __init__(self, stream: FrameStream, output: Output) -> None:
        self.stream = stream
        self.output = output
        self.functions = Functions()
        self.threads = StartedThreads()
        self.page: mmap.mmap | None = None
        self.inbox: deque[frames.Received] = deque()
        self.stopping = False
        self.credits: dict[int, int] = {}
        self.forked = False
        # REPLACE once a function has left behind what others must not meet.
        self.replaced = 0
        self.interruptible = False
        self._reading = threading.Lock()
        self._answers: dict[int, tuple[bool, Any] | None] = {}
        self._calls_home = 0
        self._async_loop: Any = None
        # The nodes of calls that run on several, by channel; few calls do.
        self._nodes: dict[int, Node] = {}

    # -- the stream ------------------------------------------------------------

    def take(self, frame: frames.Received) -> bool:
        """
        Act on a frame. Return False for a call, and for what comes before one: the caller takes
        these in order.
        """
        kind, channel, a, b, payload = frame
        if kind == frames.CALL or kind == frames.FUNCTION or kind == frames.NODE:
            return False
        if kind == frames.CREDIT:
            if channel in self.credits:
                self.credits[channel] += a
                self.credited(channel)
        elif kind == frames.CANCEL:
            self.cancel(channel)
        elif kind == frames.HOME_RESULT:
            if a in self._answers:
                data, buffers = payload if isinstance(payload, tuple) else (payload, ())
                self._answers[a] = (bool(b), Sealed(data, buffers))
        elif kind == frames.SECRETS:
            os.environ.update(marshal.loads(payload))
        elif kind == frames.SOURCES:
            from fal_core_worker.archives import add_source

            add_source(payload)
            origins.give_way()
        elif kind == frames.DRAIN:
            self.drain(channel)
        elif kind == frames.TRIM:
            self.stream.trim()
        elif kind == frames.STOP:
            self.stopping = True
        return True

    def prepare(self, frame: frames.Received) -> None:
        """
        Take what a call needs that comes after *frame*: its function, or its node.

        Raises:
            UnreadableFrame: It is no node.
        """
        kind, channel, slot, _, payload = frame
        if kind == frames.FUNCTION:
            self.functions.put(slot, payload)
            return
        # Plain calls go without it.
        from fal_core_worker.nodes import unpack_node

        for known in list(self._nodes)[:-_MOST_NODES]:
            if not self.is_running(known):
                del self._nodes[known]
        self._nodes[channel] = unpack_node(payload)

    def find_node(self) -> Node | None:
        """Return the node of the call that the calling code belongs to, if it has one."""
        return self._nodes.get(self.current_channel) if self._nodes else None

    def note_node(self, channel: int, error: BaseException) -> None:
        """Note at *error*, which the call of *channel* has raised, on which node that was."""
        if channel in self._nodes:
            from fal_core_worker.nodes import add_note

            add_note(error, self._nodes[channel])

    def clean_up(self, *, others: bool = False) -> None:
        """
        Undo what a function has done to the builtins of Python, and have another worker take
        the next call then.

        Arguments:
            others: Whether other calls run, which may have done so: they end before that.
        """
        names = restore_builtins(leave=others)
        if names and not (self.forked or self.replaced):
            self.replaced = frames.REPLACE
            what = f"replaced builtins of Python ({names}), so this worker takes no other call."
            who = "One of the functions that run here" if others else "The function"
            self.output.write("WARNING", f"{who} has {what}")

    def lost(self) -> None:
        """End this process and all that it has started, since the stream has ended."""
        trees.kill_descendants(os.getpid())
        os._exit(1)

    def terminate(self) -> NoReturn:
        """
        End this process by SIGTERM, like a program without a handler for it.

        The process that launched it ends what it has started, and reports the signal.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # If this thread is sending at the moment, it would wait for itself.
        if not (self.stream.is_sending or self.output.is_writing):
            try:
                self.output.flush_call(last=True)
            except OSError:
                pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(128 + signal.SIGTERM)

    def pump(self, *, soon: bool = False) -> bool:
        """
        Read the stream once, act on the frames, and put calls into the inbox.

        The caller holds the read lock. Return False at the end of the stream.
        """
        got = self.stream.read_soon() if soon else self.stream.read()
        if got is None:
            return False
        for frame in got:
            if not self.take(frame):
                self.inbox.append(frame)
        return True

    def wait_for(self, ready: Any) -> None:
        """Read the stream until *ready* returns true. Any thread may call this."""
        interruptible, self.interruptible = self.interruptible, False
        while not (ready() or self.is_cancelled()):
            if not self._reading.acquire(timeout=0.02):
                continue
            try:
                if not ready() and not self.pump():
                    self.lost()
            finally:
                self._reading.release()
        self.interruptible = interruptible
        if self.is_cancelled():
            raise CallCancelled

    def open_function(self, kept: KeptFunction, channel: int) -> tuple[Any, Any]:
        """Return what to call, and the function. Send PREPARED after a setup function ran."""
        if not self.functions.awaits_setup(kept):
            return self.functions.open(kept)
        opened = self.functions.open(kept)
        self.stream.send(frames.PREPARED, channel)
        return opened

    # -- calls to home ---------------------------------------------------------

    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """
        Have the launching process call its function *number*, and return the result.

        Raises:
            RuntimeError: The code belongs to no call that runs.
        """
        channel = self.output.current()[0]
        if not self.is_running(channel):
            raise RuntimeError(
                "This thread belongs to no call that runs, so that nobody answers its calls "
                "of other functions. Call them before the function returns, and not from a "
                "thread that it leaves behind."
            )
        self._calls_home += 1
        ticket = self._calls_home
        function = self.function_of(channel)
        data, buffers = values.seal_value((number, args, kwargs), function)
        self._answers[ticket] = None
        self.output.flush_call()
        self.stream.send(frames.HOME_CALL, channel, ticket, data=data, buffers=buffers)
        self.wait_for(lambda: self._answers[ticket] is not None)
        answer = self._answers.pop(ticket)
        assert answer is not None
        raised, sealed = answer
        if raised:
            raise open_error(sealed, {})
        return values.open_arguments(sealed, function)

    # -- coroutines and generators -------------------------------------------------

    def finish(self, value: Any, raw: Any, channel: int, *, stream: bool) -> Any:
        """Run what a function has returned: a coroutine, or a generator whose items are sent."""
        if type(value) is CoroutineType:
            return self.complete(value, channel)
        if not stream:
            raise TypeError(
                "The function returned a generator, which cannot travel. "
                "Make the isolated function itself a generator function."
            )
        self.credits[channel] = WINDOW
        try:
            if type(value) is AsyncGeneratorType:
                return self.complete(self._send_async(value, raw, channel), channel)
            return self._send(value, raw, channel)
        finally:
            del self.credits[channel]

    def _send(self, items: Any, raw: Any, channel: int) -> Any:
        """Send what a generator yields, and return what it returns."""
        index = 0
        try:
            while True:
                try:
                    item = next(items)
                except StopIteration as end:
                    return end.value
                self._check_sender()
                self.await_credit(channel)
                self.output.flush_call()
                send_item(self.stream, channel, item, index, raw)
                index += 1
        finally:
            items.close()

    async def _send_async(self, items: Any, raw: Any, channel: int) -> None:
        import asyncio

        index = 0
        try:
            async for item in items:
                self._check_sender()
                while self.credits[channel] <= 0:
                    await asyncio.sleep(0.002)
                self.credits[channel] -= 1
                self.output.flush_call()
                send_item(self.stream, channel, item, index, raw)
                index += 1
        finally:
            await items.aclose()

    def _check_sender(self) -> None:
        if self.forked:
            raise RuntimeError(
                "A forked child process yields an item, which only the process that it was "
                "forked from can send. Leave the child by os._exit(), or use multiprocessing."
            )

    # -- what subclasses do ------------------------------------------------------------

    @abstractmethod
    def serve(self) -> int:
        """Run calls until a STOP frame or the end of the stream. Return the exit code."""

    @abstractmethod
    def function_of(self, channel: int) -> Any:
        """Return the function of the call of *channel*."""

    @abstractmethod
    def is_running(self, channel: int) -> bool:
        """Tell whether the call of *channel* has begun and not ended."""

    @abstractmethod
    def is_cancelled(self) -> bool:
        """Tell whether the call that runs on this thread was cancelled."""

    @abstractmethod
    def cancel(self, channel: int) -> None:
        """Interrupt the call of *channel*."""

    @abstractmethod
    def await_credit(self, channel: int) -> None:
        """
        Wait until one more item of *channel* may be sent.

        Raises:
            CallCancelled: The call was cancelled.
        """

    @abstractmethod
    def complete(self, coroutine: Any, channel: int) -> Any:
        """Run *coroutine* for the call of *channel*, and return its result."""

    @abstractmethod
    def interrupted(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, on the main thread."""

    @abstractmethod
    def credited(self, channel: int) -> None:
        """Handle new credit for the stream of *channel*."""

    # -- services ----------------------------------------------------------------

    @property
    def current_channel(self) -> int:
        """The channel of the call that the calling code belongs to."""
        return self.output.current()[0]

    def run_service(
        self, service: Coroutine[Any, Any, None], loop: Any, drain: Callable[[], None]
    ) -> None:
        """Run *service* in *loop* until it ends. A request to drain calls *drain* there."""
        raise RuntimeError("A service needs a worker of its own, and this one is shared.")

    def announce(self, urls: dict[str, str]) -> None:
        """Report that the service of the calling code answers at *urls*."""
        self.stream.send(frames.READY, self.current_channel, data=pack_texts(urls))

    def drain(self, channel: int) -> None:
        """Have the service of *channel* drain."""
        os.kill(os.getpid(), signal.SIGTERM)
