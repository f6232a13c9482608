"""
Garbage collection: the objects of a service that has been set up are frozen.

A full collection of Python visits every object while nothing else runs: 35 ms with
FastAPI alone, several times a second under load, and far more with the modules of a
large model. So these objects are exempted. Now and then they are thawed, collected once,
and frozen again, so that those that were replaced are freed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator

#: The least number of seconds between two collections of frozen objects.
INTERVAL = 60.0

#: At most one part in so many of the time is spent on these collections.
_PARTS = 1000


@contextlib.asynccontextmanager
async def frozen(interval: float = INTERVAL) -> AsyncIterator[None]:
    """
    Exempt the objects that exist now from full collections, while the context lasts.

    If garbage collection is disabled, or objects are frozen already, nothing is changed.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    # Without a collection before it, which would delay the first response.
    gc.freeze()
    task = asyncio.create_task(_thaw_now_and_then(interval, _full_collections()))
    try:
        yield
    finally:
        task.cancel()
        gc.unfreeze()


async def _thaw_now_and_then(interval: float, seen: int) -> None:
    pause = interval
    while True:
        await asyncio.sleep(pause)
        # Without a full collection, Python would not have freed old objects either.
        if _full_collections() == seen:
            continue
        began = time.monotonic()
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        pause = max(interval, _PARTS * (time.monotonic() - began))
        seen = _full_collections()


def _full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])
