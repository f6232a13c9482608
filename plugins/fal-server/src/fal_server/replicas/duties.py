"""
Duties: requests that a replica answers as long as it decides.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.gateways.http_servers import Handler
from fal_server.replicas.http_relays import DeciderLost


@attrs.define(eq=False)
class Duties:
    """
    The requests that are being answered.
    """

    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set)
    _is_over: bool = False

    def guard(self, answer: Handler) -> Handler:
        """
        Return *answer* as it is until the replica decides no longer, when its requests are
        told that they may have run.
        """

        async def guarded(request: BaseRequest) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await answer(request)
            except asyncio.CancelledError:
                if not self._is_over or request.writer.output_size:
                    raise
                if sys.version_info >= (3, 11):
                    task.uncancel()
                raise DeciderLost from None
            finally:
                self._tasks.discard(task)

        return guarded

    def end(self) -> None:
        """
        Break off what has not ended.
        """
        self._is_over = True
        for task in self._tasks:
            task.cancel()
