"""
Queues of applications.
"""

from __future__ import annotations

from typing import Any

from fal_host_serverless import SyncServerlessClient
from fal_host_serverless import deploy as deploying


def test_queue_is_that_of_its_owner(asking: SyncServerlessClient, rest: Any):
    """
    A plain name is one of the caller's own applications; ``owner/name`` is that of another.
    """
    rest.queues["you/app"] = 9
    from fal_host_serverless.queues import flush_queue, queue_size

    assert queue_size(asking, "app") == 3
    assert queue_size(asking, "you/app") == 9
    flush_queue(asking, "you/app")
    assert rest.queues == {"me/app": 3, "you/app": 0}
    assert deploying.get_user(asking) == deploying.User("7", "me")
