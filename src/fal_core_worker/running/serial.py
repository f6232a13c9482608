"""
The executor of one call at a time, on the main thread.

While it is idle the main thread also reads the stream, so that a warm call switches no
thread. A watcher reads the stream once a call has run for some milliseconds.
"""

from __future__ import annotations

# ``signal`` is slow to import.
import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import os
import struct
import threading
from collections.abc import Callable, Coroutine
from types import FrameType

from fal_core_worker import trees
from fal_core_worker.opening import values
from fal_core_worker.opening.seals import Sealed
from fal_core_worker.output.capture import Output
from fal_core_worker.running import owners
from fal_core_worker.running.executors import Executor
from fal_core_worker.running.outcomes import (
    LAZY,
    CallCancelled,
    Terminated,
    contain,
    end_forked,
    release,
    send_error,
    send_items,
    send_value,
)
from fal_core_worker.running.slots import KeptFunction
from fal_core_worker.running.watchers import Watcher
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import RAISED, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.stream.streams import FrameStream

_NUMBER = struct.Struct("<I")


class SerialExecutor(Executor):
    """Runs one call at a time on the main thread."""

    def __init__(self, stream: FrameStream, output: Output) -> None:
        super().__init__(stream, output)
        self.channel = self.index = 0
        # Whether a call runs, and the number of calls so far, the running one included.
        self.busy = False
        self.turn = 0
        self._cancelled = self._drained = 0
        # Sent with the outcome of a call: REPLACE once the worker was told to end.
        self._after = 0
        self._awaits_signal = False
        self._kept: KeptFunction | None = None
        self._began = 0.0
        self._task: Any = None
        # The task that was cancelled. It is cancelled once, so that it can clean up.
        self._ending: Any = None
        self._end = 0
        self._done: list[tuple[int, Any]] = []
        self._first = 0
        self._items = threading.Lock()
        self._watcher = Watcher(self)
        output.current = lambda: (
            owners.current.get() or self.threads.find_owner() or (self.channel, self.index)
        )
        output.current_below = lambda: (self.channel, self.index)

    def function_of(self, channel: int) -> Any:
        return self._kept and self._kept.raw

    # -- the main thread -------------------------------------------------------

    def serve(self) -> int:
        self._watcher.start()
        self.threads.begin()
        inbox = self.inbox
        while True:
            if self._after:
                self.terminate()
            if inbox:
                if inbox[0][0] == frames.CALL:
                    self._run()
                else:
                    self.prepare(inbox.popleft())
            elif self.stopping:
                self.output.flush_call()
                return 0
            else:
                with self._reading:
                    if not inbox and not self.pump(soon=True):
                        trees.kill_descendants(os.getpid())
                        return 0

    def _run(self) -> None:
        """
        Run the next call of the inbox.

        Its arguments are released before its outcome is sent, so that the shared memory
        they use is free again when the caller sends the next call.
        """
        _, channel, slot, count, payload = self.inbox.popleft()
        self.channel = channel
        owners.current.set((channel, 0))
        if owners.count_threads() != self.threads.usual:
            self.threads.free_idle()
        self._kept = kept = self.functions.find(slot)
        self._began = trees.now()
        self.turn += 1
        self.busy = True
        if self._watcher.resting:
            self._watcher.wake()
        sealed: Any = Sealed(*payload) if type(payload) is tuple else Sealed(payload)
        try:
            try:
                self.interruptible = True
                if self._cancelled == channel:
                    raise CallCancelled
                function, raw = self.open_function(kept, channel)
                arguments = values.open_arguments(sealed, raw)
                payload = sealed = None
                if count:
                    value = self._run_many(function, raw, arguments, count)
                    arguments = None
                else:
                    args, kwargs = arguments
                    value = function(*args, **kwargs)
                    arguments = args = kwargs = None
                    if type(value) in LAZY:
                        value = self.finish(value, raw, self.channel, stream=False)
            finally:
                self.interruptible = False
        except BaseException as error:
            self._end_raised(channel, error)
        else:
            self.clean_up()
            self.busy = False
            if self.forked:
                end_forked()
            after = self._after | self.replaced
            if owners.count_threads() != self.threads.usual:
                after |= self.threads.note_left((channel, 0))
            self.output.flush_call()
            send_value(self.stream, channel, value, raw, after)
        # Nothing large is held until the next call.
        arguments = value = sealed = None
        self.channel = 0

    def _run_many(self, function: Any, raw: Any, arguments: Any, count: int) -> Any:
        """Run a batch of calls, or a call whose items are streamed."""
        if count != frames.STREAM:
            return self._run_batch(function, raw, arguments)
        args, kwargs = arguments
        value = function(*args, **kwargs)
        if type(value) in LAZY:
            return self.finish(value, raw, self.channel, stream=True)
        return value

    def _end_raised(self, channel: int, error: BaseException) -> None:
        self.clean_up()
        self.busy = False
        if self.forked:
            end_forked(error)
        if isinstance(error, Terminated):
            self.terminate()
        left = self.threads.note_left((channel, self.index)) | self.replaced
        self.output.flush_call()
        if isinstance(error, CallCancelled) and self._cancelled == channel:
            trees.kill_descendants(os.getpid(), since=self._began)
            self.stream.send(frames.OUTCOME, channel, frames.ENDED_CANCELLED, left)
        elif isinstance(error, SystemExit) and self._drained == channel:
            # It was drained, and has exited: a server may do so on SIGTERM.
            send_value(self.stream, channel, None, self.function_of(channel))
        else:
            left |= self._after
            self.note_node(channel, error)
            send_error(self.stream, channel, error, self.function_of(channel), left)

    def is_running(self, channel: int) -> bool:
        return channel == self.channel and self.busy

    def is_cancelled(self) -> bool:
        return self._cancelled == self.channel and self.busy

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self._end_by_signal()
            return
        # In the middle of a frame or a line, the watcher sends the signal again.
        busy = self.stream.is_sending or self.output.is_writing
        if self._cancelled == self.channel and self.interruptible and not busy:
            self.interruptible = False
            raise CallCancelled

    def _end_by_signal(self) -> None:
        """Let the function that runs, if any, clean up, and end this process."""
        if self._drained:
            if self.busy:
                raise SystemExit(128 + signal.SIGTERM)
            self.stopping = True
            return
        if not self.channel:
            self.terminate()
        # In the middle of a frame or a line, the watcher sends the signal again. While the
        # outcome is being sent, this process ends after that.
        self._after = frames.REPLACE
        busy = self.stream.is_sending or self.output.is_writing
        self._awaits_signal = busy and self.busy
        if self.busy and not busy:
            raise Terminated(128 + signal.SIGTERM)

    def drain(self, channel: int) -> None:
        self._drained = channel
        super().drain(channel)

    def cancel(self, channel: int) -> None:
        self._cancelled = channel
        if not self.busy or channel != self.channel:
            return
        if self._task is not None:
            loop, task = self._task
            if task is not self._ending:
                self._ending = task
                loop.call_soon_threadsafe(task.cancel)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    # -- batches -----------------------------------------------------------------

    def _run_batch(self, function: Any, raw: Any, items: Any) -> None:
        channel = self.channel
        lock, page = self._items, self.page
        self._first, self._done, self._end = 0, [], len(items)
        index = 0
        outcome: tuple[int, Any] | None = None
        try:
            while True:
                self.interruptible = False
                with lock:
                    if outcome is not None:
                        self._done.append(outcome)
                    if index >= self._end:
                        break
                    self.index = index
                owners.current.set((channel, index))
                if page is not None:
                    _NUMBER.pack_into(page, 0, index + 1)
                else:
                    self.stream.send(frames.STARTED, channel, index + 1)
                args, kwargs = items[index]
                items[index] = None
                index += 1
                try:
                    self.interruptible = True
                    if self._cancelled == channel:
                        raise CallCancelled
                    value = function(*args, **kwargs)
                    if type(value) in LAZY:
                        value = self.finish(value, raw, self.channel, stream=False)
                    outcome = (VALUE, value)
                except (CallCancelled, Terminated):
                    raise
                except BaseException as error:
                    self.interruptible = False
                    self.clean_up()
                    if self.forked:
                        end_forked(error)
                    outcome = (RAISED, values.seal_error(error, raw).data)
                if self.forked:
                    end_forked()
                if owners.count_threads() != self.threads.usual:
                    self.threads.note_left((channel, self.index))
        finally:
            self.interruptible = False
            with lock:
                done, first, self._done = self._done, self._first, []
                self._first += len(done)
                self._end = 0
            self.output.flush_call()
            send_items(self.stream, channel, done, first, raw)
            self.index = 0

    def _return_rest(self, channel: int) -> None:
        """Hand back the items that wait behind a long one, and send the outcomes so far."""
        # Held until all is sent: what the end of the batch sends comes after it.
        with self._items:
            first, count = self.index + 1, self._end
            self._end = min(self._end, first)
            done, start, self._done = self._done, self._first, []
            self._first += len(done)
            send_items(self.stream, channel, done, start, self.function_of(channel))
            if first < count:
                self.stream.send(frames.RETURNED, channel, first)

    # -- coroutines and generators -------------------------------------------------

    def credited(self, channel: int) -> None:
        """Do nothing: the thread that waits for credit reads the stream itself."""

    def await_credit(self, channel: int) -> None:
        if self.credits[channel] <= 0:
            self.wait_for(lambda: self.credits[channel] > 0)
        self.credits[channel] -= 1

    def complete(self, coroutine: Any, channel: int) -> Any:
        import asyncio

        if self._async_loop is None:
            self._async_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._async_loop)
        loop = self._async_loop
        task = loop.create_task(contain(coroutine))
        self._task = (loop, task)
        if self._cancelled == self.channel and task is not self._ending:
            self._ending = task
            task.cancel()
        try:
            return release(loop.run_until_complete(task))
        except asyncio.CancelledError:
            if self._cancelled == self.channel:
                raise CallCancelled from None
            raise
        finally:
            # Where the task was cancelled before it began.
            coroutine.close()
            self._task = self._ending = None

    # -- services ----------------------------------------------------------------

    def run_service(
        self, service: Coroutine[Any, Any, None], loop: Any, drain: Callable[[], None]
    ) -> None:
        import asyncio

        from fal_core_worker.serving.services import request_id

        before, output = self._async_loop, self.output
        current, output.current = output.current, lambda: (self.channel, request_id.get())
        self._async_loop = loop
        asyncio.set_event_loop(loop)
        loop.add_signal_handler(signal.SIGTERM, drain)
        try:
            self.complete(service, self.channel)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, self.interrupted)
            self._async_loop = before
            asyncio.set_event_loop(before)
            loop.close()
            output.current = current

    # -- for the watcher -------------------------------------------------

    def read_beside(self, turn: int) -> bool:
        """Read the stream while the call of *turn* runs. Return False if another thread reads."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            if self.busy and self.turn == turn and not self.pump():
                self.lost()
        finally:
            self._reading.release()
        return True

    def interrupt_again(self) -> None:
        """Interrupt the call again if it was in the middle of a frame or a line before."""
        if self._cancelled == self.channel and self.interruptible:
            self.cancel(self.channel)
        if self._awaits_signal:
            os.kill(os.getpid(), signal.SIGTERM)

    def return_rest(self, index: int) -> int:
        """Hand back items of a batch if the one of *index* still runs. Return which one runs."""
        if self._end and self.index == index:
            self._return_rest(self.channel)
        return self.index
