"""Deadlines of setups, with an error that says where a setup hangs."""

from __future__ import annotations

import asyncio
import signal
import threading
import traceback
from collections.abc import Awaitable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from fal_core_worker.serving import services
from fal_serve.answering.stacks import format_frames, frames_of, is_user_frame, other_threads

T = TypeVar("T")

#: Seconds after which a setup that goes on despite an interrupt is interrupted again.
_AGAIN = 1.0


class SetupTimeout(services.StartupError, TimeoutError):
    """
    The setup of a service has not ended in time.

    Attributes:
        seconds: The startup_timeout.

        where: The stack at which it hung.
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
    """Raised in a setup that blocks the event loop. ``except Exception`` does not catch it."""


class SetupGuard:
    """Interrupts a setup that takes longer than *seconds*; None waits for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._ended = threading.Event()
        self._expired = False

    async def run(self, setup: Awaitable[T]) -> T:
        """
        Return the result of *setup*.

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
        # Nothing else uses SIGURG, and a late one is ignored by default.
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
        """Log where the setup hangs, in case that it cannot be interrupted there."""
        services.log(
            "ERROR",
            {
                "message": "The setup has not ended within its startup_timeout.",
                "stack": format_frames(frames_of(self._ident)),
            },
        )

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._ended.is_set():
            return
        while frame is not None:
            if frame.f_code is SetupGuard.run.__code__:
                raise SetupInterrupted
            frame = frame.f_back
        # The setup awaits something, and does not block the event loop.
        self._loop.call_soon_threadsafe(self._task.cancel)

    def _where(self, raised: TracebackType | None) -> str:
        """Return the stack of the setup, and those of threads that it may wait for."""
        frames: list[Any] = list(traceback.walk_tb(raised))
        users = [i for i, (frame, _) in enumerate(frames) if is_user_frame(frame)]
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
            text += f"Thread {name}:\n{format_frames(stack)}"
        return text.rstrip()
