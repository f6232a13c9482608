"""
Runners: the processes that serve applications.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fal_host_serverless import operations
from fal_host_serverless.values import RunnerInfo

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def list_runners(
    client: SyncServerlessClient, *, since: datetime | None = None
) -> list[RunnerInfo]:
    """
    List the runners of all applications, also those that have ended after *since*.
    """
    return client.perform(operations.list_runners(since))


def stop_runner(
    client: SyncServerlessClient, runner_id: str, replace_first: bool = False
) -> None:
    """
    Have a runner end once it has finished its requests.

    Arguments:
        replace_first: Start another one before.
    """
    client.perform(operations.stop_runner(runner_id, replace_first))


def kill_runner(client: SyncServerlessClient, runner_id: str) -> None:
    """
    End a runner at once.
    """
    client.perform(operations.kill_runner(runner_id))
