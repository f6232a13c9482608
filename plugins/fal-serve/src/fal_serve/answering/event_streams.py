"""Responses that stream items as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from starlette.responses import Response

from fal_core_worker.running.outcomes import contain, release
from fal_core_worker.serving import services
from fal_serve.answering import json_responses as answers
from fal_serve.answering.cancellation import wait_for_disconnect
from fal_serve.answering.exchanges import error_event
from fal_serve.answering.failures import detail_of
from fal_serve.answering.logs import Aborted, log_error

if TYPE_CHECKING:
    from starlette.background import BackgroundTask
    from starlette.types import Receive, Scope, Send

_KEPT = (b"content-length", b"content-type")


class EventStream(Response):
    """
    A response that sends each item as an event, and closes the generator on disconnect.

    An exception before the first item is answered as if nothing were streamed. A later one
    is sent as an event ``error`` before the connection is broken off, so that no client
    takes the response for complete.

    Arguments:
        given: The response whose headers the handler has set, if it asked for one.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        items: AsyncGenerator[Any, None] | None = None,
        status_code: int = 200,
        *,
        given: Response | None = None,
    ) -> None:
        self._items = items
        self._given = given
        self.status_code = status_code
        self.background: BackgroundTask | None = None
        self.body = b""
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(contain(self.pump(send, services.request_id.get())))
        watch = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait((pump, watch), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                release(await pump)
        finally:
            for task in (watch, pump):
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task

    async def pump(self, send: Send, request_id: str) -> None:
        """
        Send all items.

        Arguments:
            request_id: Read from this frame by the watchdog, to name the request.
        """
        assert self._items is not None
        started = False
        try:
            async for item in self._items:
                event = b"data: " + encode(item) + b"\n\n"
                if not started:
                    await self._start(send)
                    started = True
                await send({"type": "http.response.body", "body": event, "more_body": True})
            if not started:
                await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not started:
                raise
            log_error(error, "The stream failed.")
            event = error_event(jsonable_encoder(detail_of(error)))
            await send({"type": "http.response.body", "body": event, "more_body": True})
            raise Aborted from error
        finally:
            await self._items.aclose()

    async def _start(self, send: Send) -> None:
        headers = self.raw_headers
        status = self.status_code
        if self._given is not None:
            headers = [*headers, *(e for e in self._given.raw_headers if e[0] not in _KEPT)]
            status = self._given.status_code or status
        await send({"type": "http.response.start", "status": status, "headers": headers})


def encode(item: Any) -> bytes:
    """Return *item* as one line of JSON."""
    if isinstance(item, BaseModel):
        try:
            return item.model_dump_json(by_alias=True).encode()
        except PydanticSerializationError:
            return answers.encode(answers.dump(item.model_dump, by_alias=True))
    return answers.encode(jsonable_encoder(item))
