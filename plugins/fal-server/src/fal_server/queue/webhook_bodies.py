"""
Webhook bodies: what is sent to a webhook about a response.

The response is a part of the body as it is, and is checked before: it is neither kept in
memory nor written anew. A body is read twice, once for its digest and once to be sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs

from fal_server.state.bodies import SMALL, Body
from fal_server.store.queued_requests import QueuedRequest

#: The largest response that is a part of a webhook, in bytes, and the most values that it has.
#: All of it is in memory while it is checked, and a value takes a hundred bytes then.
LARGEST, MOST_VALUES = 32 << 20, 1_000_000

_NO_JSON = "The response is not JSON."
_TOO_LARGE = "The response is too large for a webhook: get it by its request id."


@attrs.frozen(kw_only=True)
class WebhookBody:
    """The body of a webhook: a JSON object."""

    _before: bytes
    _answer: Body
    _after: bytes

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self._before) + self._answer.size + len(self._after)

    async def digest(self) -> str:
        """Return its SHA-256, in hexadecimal."""
        if self._answer.files is None:
            return _digest(self.pieces_here())
        return await asyncio.to_thread(_digest, self.pieces_here())

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield its bytes."""
        yield self._before
        async for piece in self._answer.pieces():
            yield piece
        yield self._after

    def pieces_here(self) -> Iterator[bytes]:
        """Do the same as :meth:`pieces`, in this thread."""
        yield self._before
        yield from self._answer.pieces_here()
        yield self._after


async def make_body(
    request: QueuedRequest, answer: Body, checking: asyncio.Lock
) -> WebhookBody:
    """
    Return the body of the webhook of a request.

    Arguments:
        answer: The response to the request.

        checking: Held while a large response is checked, so that one at a time is in memory.
    """
    if answer.size <= SMALL:
        error = _find_error(answer)
    else:
        async with checking:
            error = await asyncio.to_thread(_find_error, answer)
    described = _describe(request)
    if error is None:
        before = json.dumps(described)[:-1] + ', "payload": '
        return WebhookBody(before=before.encode(), answer=answer, after=b"}")
    whole = json.dumps({**described, "payload": None, "payload_error": error})
    return WebhookBody(before=whole.encode(), answer=Body(), after=b"")


def _find_error(answer: Body) -> str | None:
    """Return why a response cannot be a part of a webhook. None where it can."""
    if answer.size > LARGEST:
        return _TOO_LARGE
    pieces = [*answer.pieces_here()]
    marks = sum(piece.count(mark) for piece in pieces for mark in (b",", b":", b"[", b"{"))
    if marks > MOST_VALUES:
        return _TOO_LARGE
    try:
        text = b"".join(pieces).decode()
        pieces.clear()
        # Only whether it can be read matters. Numbers and objects are dropped at once.
        json.loads(
            text,
            parse_int=_drop,
            parse_float=_drop,
            parse_constant=_refuse,
            object_pairs_hook=_drop,
        )
    except (ValueError, RecursionError):
        # It is not JSON, or is nested too deeply to be read.
        return _NO_JSON
    return None


def _drop(_: Any) -> None:
    """Return nothing of a value."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON.")


def _digest(pieces: Iterator[bytes]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _describe(request: QueuedRequest) -> dict[str, Any]:
    failed = request.error is not None or (request.status or 500) >= 400
    described: dict[str, Any] = {
        "request_id": request.id,
        "gateway_request_id": request.id,
        "status": "ERROR" if failed else "OK",
    }
    if failed:
        described["error"] = request.error or f"Unexpected status code: {request.status}"
    return described
