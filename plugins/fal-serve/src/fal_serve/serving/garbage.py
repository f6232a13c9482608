"""
Garbage: what is there once a service is set up takes no part in full collections.

A full collection of Python's looks at every object there is while nothing else runs:
35 ms with FastAPI alone, several times a second under load, and far more with the
modules of a large model. So these objects are frozen. Now and then they are thawed,
looked at once, and frozen again, so that what was replaced meanwhile is freed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator

#: Seconds between two looks at what is frozen, at least.
INTERVAL = 60.0

#: Of the time, at most one part in so many goes into these looks.
_PARTS = 1000


@contextlib.asynccontextmanager
async def frozen(interval: float = INTERVAL) -> AsyncIterator[None]:
    """
    Keep what is there now out of full collections while the context lasts.

    Whoever has turned collection off, or frozen something, is left alone.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    # No collection comes first: it would delay the first answer.
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
        # Without one Python itself would have freed nothing that is old.
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
