"""Revocations: streams and websockets end with the key that opened them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from fal_server.access.callers import Caller
from fal_server.errors import Refusal, Unauthenticated

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Held:
    """A task that goes on for as long as a key is valid."""

    task: asyncio.Task[Any]
    is_over: bool = False


@attrs.define(eq=False)
class Revocations:
    """
    The streams and websockets that are open, by the ids of their keys.

    Arguments:
        valid: Returns whether the key with an id is valid.

        pause: Seconds between two looks at the keys, which other processes may revoke. There
            are none while nothing is open.
    """

    _valid: Callable[[str], Awaitable[bool]]
    _pause: float
    _held: dict[str, set[Held]] = attrs.field(init=False, factory=dict)
    _watching: asyncio.Task[None] | None = attrs.field(init=False, default=None)

    @asynccontextmanager
    async def hold(self, caller: Caller | None) -> AsyncIterator[None]:
        """
        Run a context until the key of *caller* is revoked, and without end for nobody.

        Raises:
            Unauthenticated: The key was revoked; what ran in the context was cancelled.
        """
        task = asyncio.current_task()
        if caller is None or task is None:
            yield
            return
        held = Held(task)
        self._add(caller.key_id, held)
        try:
            yield
        except asyncio.CancelledError:
            if not held.is_over:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            raise Unauthenticated("The key was revoked.") from None
        finally:
            self._remove(caller.key_id, held)

    def end(self, key_id: str) -> None:
        """End what is open under a key."""
        for held in self._held.get(key_id, ()):
            if not held.is_over:
                held.is_over = True
                held.task.cancel()

    def _add(self, key_id: str, held: Held) -> None:
        self._held.setdefault(key_id, set()).add(held)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def _remove(self, key_id: str, held: Held) -> None:
        self._held[key_id].discard(held)
        if not self._held[key_id]:
            del self._held[key_id]
        if not self._held and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            for key_id in list(self._held):
                try:
                    valid = await self._valid(key_id)
                except Refusal:
                    # The state cannot be read at present: nobody has revoked a key there.
                    continue
                except Exception:
                    logger.exception("A key could not be looked at")
                    continue
                if not valid:
                    self.end(key_id)
