"""
Iterations: over what a handler yields, whichever way it is written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fal_serve.threads import run_on_thread


async def iterate(produced: Any) -> AsyncGenerator[Any, None]:
    """
    Iterate over what a handler produces, sync or async, and close it.
    """
    if hasattr(produced, "__aiter__"):
        items = produced.__aiter__()
        try:
            async for item in items:
                yield item
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()
    elif hasattr(produced, "__iter__"):
        end = object()
        iterator = iter(produced)
        try:
            while (item := await run_on_thread(next, iterator, end)) is not end:
                yield item
        finally:
            if hasattr(iterator, "close"):
                await run_on_thread(iterator.close)
    else:
        raise TypeError(
            "A streaming handler must yield, or return an iterator; it returned a value of "
            f"type {type(produced).__name__!r}."
        )
