"""A watchdog that logs what blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection
from types import CodeType
from typing import Any

from fal_core_worker.serving import services
from fal_serve.answering.stacks import format_frames, frames_of, function_name
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.serving.probes import Phase


class Watchdog:
    """
    A thread that notices when the event loop is blocked.

    In the loop itself, only a timer runs that notes the time.

    Arguments:
        markers: The code objects that run requests; each has a local variable
            ``request_id``.
    """

    def __init__(
        self, settings: ServiceSettings, phase: Phase, markers: Collection[CodeType]
    ) -> None:
        self._limit = settings.blocked_after
        self._dead_after = settings.dead_after
        self._phase = phase
        self._markers = markers
        self._interval = min(settings.blocked_after / 2, 1.0)
        self._ended = threading.Event()

    def __enter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._note()
        self._thread = threading.Thread(
            target=self._watch, name="fal_serve watchdog", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._ended.set()
        self._thread.join(1)

    def _note(self) -> None:
        self._noted = time.monotonic()
        self._timer = self._loop.call_later(self._interval, self._note)

    def _watch(self) -> None:
        told = 0.0
        looked = time.monotonic()
        while not self._ended.wait(self._interval):
            now, before = time.monotonic(), looked
            looked = now
            if now - before > 2 * self._interval + 0.1:
                # This thread was late as well: the machine is busy, or was suspended.
                continue
            # The loop is late only beyond one interval, and a busy machine may have delayed
            # it by as much as this thread is late itself.
            noted = self._noted
            late = max(0.0, now - before - self._interval)
            blocked = now - noted - self._interval - late
            if blocked < self._limit - self._interval:
                if self._phase.not_alive:
                    self._phase.not_alive = ""
                continue
            if noted != told:
                told = noted
                self._tell(blocked + self._interval)
            if blocked > self._dead_after:
                self._phase.not_alive = f"The event loop has been blocked for {blocked:.0f} s."

    def _tell(self, seconds: float) -> None:
        frames = frames_of(self._ident)
        facts: dict[str, Any] = {}
        request_id: Any = self._running_request()
        for index, frame in enumerate(frames):
            if frame.f_code in self._markers:
                request_id = frame.f_locals.get("request_id")
                frames = frames[index + 1 :] or frames
                break
        if request_id:
            facts["request_id"] = request_id
        name = function_name(frames)
        facts |= {
            "message": f"The event loop has been blocked by {name!r} for {seconds:.1f} s, "
            "and no other request is answered meanwhile. Make it an ordinary function, "
            "which runs on a thread, or await what it waits for.",
            "function": name,
            "stack": format_frames(frames),
        }
        services.log("WARNING", facts)

    def _running_request(self) -> str:
        """Return the id of the running task's request, which Python tells from 3.12 on."""
        task: Any = asyncio.current_task(self._loop)
        if task is None or not hasattr(task, "get_context"):
            return ""
        found: str = task.get_context().get(services.request_id, "")
        return found
