"""
The event loop: uvloop where it is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def make_loop() -> asyncio.AbstractEventLoop:
    """
    Return a new event loop.
    """
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """
    Run *work* in an event loop of its own, and end the tasks that it has left behind.
    """
    loop = make_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
