"""
Meters: what a runner uses, measured when somebody asks, and not too often.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from typing import Any

from fal_server_agent.metering.gpus import measure_gpus
from fal_server_agent.metering.memory import measure_memory

#: Seconds for which what was measured is good enough, and how many times what it takes.
_FRESH, _SHARE = 1.0, 20

#: Seconds that whoever asks waits.
_PATIENCE = 5.0


class Meter:
    """
    Measures what this process and its descendants use.

    It does so in a thread of its own, which nobody waits for: a driver may never answer, and
    the kernel takes a while to count much memory.
    """

    def __init__(self) -> None:
        # A function may set another.
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._measured: asyncio.Future[bytes] | None = None
        self._until = 0.0

    async def read(self) -> bytes:
        """
        Return what was measured as JSON: ``node``, the name of this machine; ``memory`` and
        its ``limit``, in bytes; and ``gpus``. It is an empty object where that takes too long.
        """
        if self._measured is None or (self._measured.done() and time.monotonic() > self._until):
            loop = asyncio.get_running_loop()
            self._measured = loop.create_future()
            arguments = (loop, self._measured)
            threading.Thread(target=self._run, args=arguments, daemon=True).start()
        measured = self._measured
        await asyncio.wait({measured}, timeout=_PATIENCE)
        return measured.result() if measured.done() else b"{}"

    def _run(self, loop: asyncio.AbstractEventLoop, measured: asyncio.Future[bytes]) -> None:
        began = time.monotonic()
        told: dict[str, Any] = {}
        try:
            memory, limit = measure_memory()
            told = {"node": os.uname().nodename, "memory": memory, "limit": limit}
            told["gpus"] = measure_gpus(self._visible)
        finally:
            now = time.monotonic()
            self._until = now + max(_FRESH, _SHARE * (now - began))
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(measured.set_result, json.dumps(told).encode())
