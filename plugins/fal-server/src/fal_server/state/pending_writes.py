"""
Pending writes: those that wait for the thread that writes, and those of which nobody has said
whether they are committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.errors import StateUnavailable
from fal_server.state.engines import Doubt


@attrs.define(eq=False)
class Pending:
    """
    A write that waits, and the future of its caller.
    """

    work: Callable[[sa.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    fenced: bool = True

    def settle(self, result: Any, error: BaseException | None) -> None:
        """
        Set the future, in its event loop.
        """
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def settle(ended: Sequence[tuple[Pending, Any, BaseException | None]]) -> None:
    """
    Settle writes, with one call into each event loop.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Pending, Any, BaseException | None]]] = {}
    for each in ended:
        loops.setdefault(each[0].loop, []).append(each)
    for loop, some in loops.items():
        # In a closed event loop nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, some)


def _tell(ended: list[tuple[Pending, Any, BaseException | None]]) -> None:
    for pending, result, error in ended:
        pending.settle(result, error)


@attrs.define(eq=False)
class DoubtfulWrites:
    """
    Writes in transactions of which nobody has said whether they are committed. Their callers
    wait until that is known: who is told that something is not written may do it anew.
    """

    _groups: list[tuple[Doubt[Any], Sequence[Pending]]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, doubt: Doubt[Any], group: Sequence[Pending]) -> None:
        """
        Add the writes of one transaction. Its result is that of one write, or a list of those
        of several.
        """
        self._groups.append((doubt, group))

    def settle(self) -> None:
        """
        Settle those of which it is known by now.
        """
        left = []
        for doubt, group in self._groups:
            if doubt.is_committed is None:
                left.append((doubt, group))
            elif doubt.is_committed:
                results = [doubt.result] if len(group) == 1 else doubt.result
                settle([(each, it, None) for each, it in zip(group, results, strict=True)])
            else:
                error = StateUnavailable("The database was lost before it was written.")
                settle([(each, None, error) for each in group])
        self._groups = left

    def end(self, error: BaseException) -> None:
        """
        Settle all with an error: nobody finds out any more.
        """
        for _, group in self._groups:
            settle([(each, None, error) for each in group])
        self._groups.clear()
