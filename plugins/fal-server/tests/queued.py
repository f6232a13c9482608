"""Queued requests, as tests make them."""

from __future__ import annotations

from typing import Any

from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_room import Slot
from fal_server.store.queued_requests import QueuedRequest


def make_request(id: str = "one", number: int = 1, **fields: Any) -> QueuedRequest:
    """Return a request of ``user|2`` to an application of ``user|1``."""
    given = {
        "account_id": "user|1",
        "owner_name": "owner",
        "alias": "app",
        "sender": "user|2",
        "method": "POST",
        "path": "/a%2Fb?x=%20",
        "headers": (),
        **fields,
    }
    return QueuedRequest(id=id, number=number, **given)


def make_pending(id: str = "one", number: int = 1, **fields: Any) -> PendingRequest:
    """Return the same as a request without a response."""
    request = make_request(id, number, **fields)
    name = (request.owner_name, request.alias)
    return PendingRequest.of(request, Slot(name, (request.sender, "")))
