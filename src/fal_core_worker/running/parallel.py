"""
The executor of several calls at a time: async functions as tasks, others on threads.

The main thread reads the stream. A thread cannot be cancelled. So the outcome of its call
is sent, the thread is abandoned, and the worker asks to be replaced once its other calls
have ended.
"""

from __future__ import annotations

import select
import signal
import threading
from contextvars import copy_context
from queue import SimpleQueue
from types import FrameType
from typing import Any

from fal_core_worker.opening import values
from fal_core_worker.opening.seals import Sealed
from fal_core_worker.output.capture import Output
from fal_core_worker.running import owners
from fal_core_worker.running.executors import Executor
from fal_core_worker.running.outcomes import (
    LAZY,
    CallCancelled,
    contain,
    end_forked,
    release,
    send_error,
    send_items,
    send_value,
)
from fal_core_worker.running.slots import KeptFunction
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import RAISED, VALUE
from fal_core_worker.stream.streams import FrameStream


class ParallelExecutor(Executor):
    """Runs several calls at a time."""

    def __init__(self, stream: FrameStream, output: Output) -> None:
        super().__init__(stream, output)
        self._active: dict[int, Any] = {}
        self._tasks: dict[int, Any] = {}
        self._cancelled: set[int] = set()
        self._jobs: SimpleQueue[Any] = SimpleQueue()
        self._idle = 0
        self._lock = threading.Lock()
        self._credit = threading.Condition()
        # The channels of streams that wait for credit.
        self._awaiting: set[int] = set()
        output.current = self._find_owner

    # -- the main thread -------------------------------------------------------

    def serve(self) -> int:
        self.threads.begin()
        while True:
            active = bool(self._active)
            if self.stopping and not active:
                self.output.flush_call()
                return 0
            is_readable = self._wait(20 if active or self.output.is_waiting else None)
            # A call that waits for an answer from home reads meanwhile, and keeps at it: what
            # it has read for others is in the inbox.
            if is_readable and self._reading.acquire(timeout=0.02):
                try:
                    if (not active or self._wait(0)) and not self.pump():
                        self.lost()
                finally:
                    self._reading.release()
            while self.inbox:
                frame = self.inbox.popleft()
                if frame[0] == frames.CALL:
                    self._start(*frame[1:])
                else:
                    self.prepare(frame)
            self.output.flush()

    def _wait(self, milliseconds: int | None) -> bool:
        """
        Wait for the stream. Without a time limit, wait for output as well.

        Return whether the stream is readable.
        """
        poll = select.poll()
        poll.register(self.stream.reader, select.POLLIN)
        if milliseconds is None:
            for descriptor in (self.output.rest(), *self.output.descriptors):
                poll.register(descriptor, select.POLLIN)
        ready = poll.poll(milliseconds)
        return any(descriptor == self.stream.reader for descriptor, _ in ready)

    def _start(self, channel: int, slot: int, count: int, payload: Any) -> None:
        sealed = Sealed(*payload) if type(payload) is tuple else Sealed(payload)
        self._note_threads()
        self._active[channel] = None
        job = (channel, self.functions.find(slot), count, sealed)
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._jobs.put(job)
                return
        threading.Thread(target=self._work, args=(job,), daemon=True).start()

    def cancel(self, channel: int) -> None:
        if channel not in self._active:
            return
        self._cancelled.add(channel)
        with self._credit:
            self._credit.notify_all()
            if channel in self._awaiting:
                # Its thread is woken, and closes the generator.
                return
        task = self._tasks.get(channel)
        if task is not None:
            self._async_loop.call_soon_threadsafe(task.cancel)
        elif self._take(channel):
            # A thread cannot be ended: its call ends now, and the worker later.
            self.stopping = True
            after = frames.REPLACE | frames.LEFT
            self.stream.send(frames.OUTCOME, channel, frames.ENDED_CANCELLED, after)

    def credited(self, channel: int) -> None:
        with self._credit:
            self._credit.notify_all()

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            # Nothing ends a thread, and the sender of this waits for the process.
            self.terminate()
        self.stopping = True

    def drain(self, channel: int) -> None:
        self.stopping = True

    def function_of(self, channel: int) -> Any:
        return self._active.get(channel)

    def find_node(self) -> Any:
        """
        Return the node of the call that the calling code belongs to, if it has one.

        Raises:
            RuntimeError: It is a thread that some call has started, and nobody knows which.
        """
        if not self._nodes or self.current_channel:
            return super().find_node()
        found = {self._nodes.get(channel) for channel in list(self._active)}
        if len(found) > 1:
            raise RuntimeError(
                "This thread does not belong to one of the calls that run in this worker, so "
                "that its node is not known. Ask for it in the function, and pass it on."
            )
        return found.pop() if found else None

    def is_running(self, channel: int) -> bool:
        return channel in self._active

    def is_cancelled(self) -> bool:
        return self._find_owner()[0] in self._cancelled

    def _find_owner(self) -> tuple[int, int]:
        return owners.current.get() or self.threads.find_owner() or (0, 0)

    def _note_threads(self, channel: int = 0) -> int:
        """
        Note whose the threads are that were started since the last time.

        Where several calls run, nobody knows. Return LEFT if some are of *channel*, else 0.
        """
        with self._lock:
            active = list(self._active)
            owner = (active[0], 0) if len(active) == 1 else (0, 0)
            return self.threads.note_left(owner, of=channel)

    # -- threads -----------------------------------------------------------------

    def _work(self, job: Any) -> None:
        with self._lock:
            self.threads.exclude()
        while True:
            copy_context().run(self._run, *job)
            with self._lock:
                self._idle += 1
            job = self._jobs.get()

    def _run(self, channel: int, kept: KeptFunction, count: int, sealed: Sealed) -> None:
        owners.current.set((channel, 0))
        raw: Any = None
        try:
            with self._lock:
                function, raw = self.open_function(kept, channel)
            self._active[channel] = raw
            arguments = values.open_arguments(sealed, raw)
            if count and count != frames.STREAM:
                self._run_batch(function, raw, arguments, channel)
                value: Any = None
            else:
                args, kwargs = arguments
                value = function(*args, **kwargs)
                if type(value) in LAZY:
                    stream = count == frames.STREAM
                    value = self.finish(value, raw, channel, stream=stream)
        except BaseException as error:
            self._end(channel, error=error, raw=raw)
        else:
            self._end(channel, value=value, raw=raw)

    def _run_batch(self, function: Any, raw: Any, items: list[Any], channel: int) -> None:
        for index, (args, kwargs) in enumerate(items):
            owners.current.set((channel, index))
            self.stream.send(frames.STARTED, channel, index + 1)
            try:
                value = function(*args, **kwargs)
                if type(value) in LAZY:
                    value = self.finish(value, raw, channel, stream=False)
                outcome = (VALUE, value)
            except CallCancelled:
                raise
            except BaseException as error:
                if self.forked:
                    end_forked(error)
                outcome = (RAISED, values.seal_error(error, raw).data)
            if self.forked:
                end_forked()
            self.output.flush_call()
            send_items(self.stream, channel, [outcome], index, raw)

    def _take(self, channel: int) -> bool:
        """Claim the outcome of a call, of which only one is sent. Return whether it was free."""
        with self._lock:
            return self._active.pop(channel, self) is not self

    def _end(
        self, channel: int, *, raw: Any, value: Any = None, error: BaseException | None = None
    ) -> None:
        if self.forked:
            self.clean_up()
            end_forked(error)
        # No call that begins gets further meanwhile than to where it opens its function.
        with self._lock:
            self.clean_up(others=any(other != channel for other in self._active))
        after = self._note_threads(channel) | self.replaced
        if not self._take(channel):
            return
        self.output.flush_call()
        if error is None:
            send_value(self.stream, channel, value, raw, after)
        elif channel in self._cancelled:
            self.stream.send(frames.OUTCOME, channel, frames.ENDED_CANCELLED, after)
        else:
            self.note_node(channel, error)
            send_error(self.stream, channel, error, raw, after)
        self._cancelled.discard(channel)
        self._tasks.pop(channel, None)

    def _run_loop(self) -> None:
        with self._lock:
            self.threads.exclude()
        self._async_loop.run_forever()

    # -- coroutines and generators -------------------------------------------------

    def await_credit(self, channel: int) -> None:
        with self._credit:
            self._awaiting.add(channel)
            while self.credits[channel] <= 0 and channel not in self._cancelled:
                self._credit.wait()
            self._awaiting.discard(channel)
            if channel in self._cancelled:
                raise CallCancelled
            self.credits[channel] -= 1

    async def _contain(self, coroutine: Any) -> tuple[int, Any]:
        """Await *coroutine*, as ``contain`` does. A child that it forks ends with it."""
        error: BaseException | None = None
        try:
            contained = kind, value = await contain(coroutine)
            error = value if kind == RAISED else None
            return contained
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self.forked:
                # The thread that waits is the parent's, and so are the other tasks.
                end_forked(error)

    def complete(self, coroutine: Any, channel: int) -> Any:
        """Run *coroutine* as a task in the loop that all calls share, and wait for it."""
        import asyncio

        with self._lock:
            if self._async_loop is None:
                self._async_loop = asyncio.new_event_loop()
                threading.Thread(target=self._run_loop, daemon=True).start()
        loop = self._async_loop
        context = copy_context()
        done = threading.Event()

        def begin() -> None:
            task = context.run(loop.create_task, self._contain(coroutine))
            self._tasks[channel] = task
            task.add_done_callback(lambda _: done.set())
            if channel in self._cancelled:
                task.cancel()

        loop.call_soon_threadsafe(begin)
        done.wait()
        # Where the task was cancelled before it began.
        coroutine.close()
        task = self._tasks.pop(channel)
        try:
            return release(task.result())
        except asyncio.CancelledError:
            if channel in self._cancelled:
                raise CallCancelled from None
            raise
