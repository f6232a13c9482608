"""
Queued requests, as tests make them.
"""

from __future__ import annotations

from typing import Any

from fal_server.store.queued_requests import QueuedRequest


def make_request(id: str = "one", number: int = 1, **fields: Any) -> QueuedRequest:
    """
    Return a request of ``user|2`` to an application of ``user|1``.
    """
    given = {
        "account_id": "user|1",
        "owner_name": "owner",
        "alias": "app",
        "sender": "user|2",
        "method": "POST",
        "path": "/a%2Fb?x=%20",
        "headers": (),
        "body": b"",
        **fields,
    }
    return QueuedRequest(id=id, number=number, **given)
