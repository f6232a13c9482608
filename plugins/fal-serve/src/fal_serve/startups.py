"""
Startups: setup ends in time, or with an error that says where it hangs.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import traceback
from collections.abc import Awaitable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from fal_core_worker.serving import services
from fal_serve.stacks import describe, frames_of, is_users, other_threads

T = TypeVar("T")

#: Seconds after which a setup that was interrupted, and goes on, is so again.
_AGAIN = 1.0


class SetupTimeout(services.StartupError, TimeoutError):
    """
    The setup of a service has not ended in time.

    Attributes:
        seconds: The time that it had.

        where: The stack of what it was at.
    """

    def __init__(self, seconds: float, where: str) -> None:
        super().__init__(seconds, where)
        self.seconds = seconds
        self.where = where

    def __str__(self) -> str:
        return (
            f"The setup has not ended within the startup_timeout of {self.seconds:g} s. "
            f"Let it do less, or give it more time. It was at:\n{self.where}"
        )


class SetupInterrupted(BaseException):
    """
    Raised within a setup that blocks the event loop; no ``except Exception`` takes it.
    """


class SetupGuard:
    """
    Interrupts a setup that takes more than *seconds*; None waits for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._ended = threading.Event()
        self._expired = False

    async def run(self, setup: Awaitable[T]) -> T:
        """
        Return what *setup* returns.

        Raises:
            SetupTimeout: It was interrupted.
        """
        if not self._seconds:
            return await setup
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._ident = threading.get_ident()
        on_main = threading.current_thread() is threading.main_thread()
        # Nothing else uses SIGURG, and where it comes too late it is ignored.
        before = signal.signal(signal.SIGURG, self._interrupt) if on_main else None
        thread = threading.Thread(
            target=self._watch, args=(on_main,), name="fal_serve startup", daemon=True
        )
        thread.start()
        try:
            return await setup
        except (SetupInterrupted, asyncio.CancelledError) as error:
            if not self._expired:
                raise
            where = self._where(error.__traceback__)
            raise SetupTimeout(self._seconds, where) from None
        finally:
            self._ended.set()
            if on_main:
                signal.signal(signal.SIGURG, before or signal.SIG_DFL)

    def _watch(self, on_main: bool) -> None:
        wait = self._seconds
        while not self._ended.wait(wait):
            wait = _AGAIN
            self._expired = True
            self._tell()
            if on_main:
                signal.pthread_kill(self._ident, signal.SIGURG)
            else:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _tell(self) -> None:
        """
        Say where the setup is, which it may never be interrupted at.
        """
        services.log(
            "ERROR",
            {
                "message": "The setup has not ended within its startup_timeout.",
                "stack": describe(frames_of(self._ident)),
            },
        )

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._ended.is_set():
            return
        while frame is not None:
            if frame.f_code is SetupGuard.run.__code__:
                raise SetupInterrupted
            frame = frame.f_back
        # It awaits something, and the loop is free.
        self._loop.call_soon_threadsafe(self._task.cancel)

    def _where(self, raised: TracebackType | None) -> str:
        """
        Return the stack of the setup, and of threads that it may wait for.
        """
        frames: list[Any] = list(traceback.walk_tb(raised))
        users = [i for i, (frame, _) in enumerate(frames) if is_users(frame)]
        first = users[0] if users else 1
        last = next(
            (
                i
                for i, (frame, _) in enumerate(frames)
                if frame.f_code is SetupGuard._interrupt.__code__
            ),
            len(frames),
        )
        summary = traceback.StackSummary.extract(iter(frames[first:last]))
        text = "".join(summary.format())
        for name, stack in other_threads(self._ident):
            text += f"Thread {name}:\n{describe(stack)}"
        return text.rstrip()
