"""Queues of applications."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless import deploy as deploying


def test_queue_is_that_of_its_owner(asking: SyncServerlessClient, rest: Any):
    """A plain name is one of the caller's own applications; ``owner/name`` is that of another."""
    rest.queues["you/app"] = 9
    from fal_host_serverless.queues import flush_queue, queue_size

    assert queue_size(asking, "app") == 3
    assert queue_size(asking, "you/app") == 9
    flush_queue(asking, "you/app")
    assert rest.queues == {"me/app": 3, "you/app": 0}
    assert deploying.get_user(asking) == deploying.User("7", "me")


@pytest.mark.parametrize("name", ["you/app?size=9", "you/../me/app#", "you/a b"])
def test_queue_of_a_name_that_is_no_path(asking: SyncServerlessClient, rest: Any, name: str):
    """Whatever a name holds is of the name: no other application is meant."""
    from fal_host_serverless.queues import queue_size

    rest.queues["you/app"] = 9
    with pytest.raises(FalServerlessError, match="was not found"):
        queue_size(asking, name)
