"""
The event loop: uvloop where there is one.
"""

from __future__ import annotations

import asyncio


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
