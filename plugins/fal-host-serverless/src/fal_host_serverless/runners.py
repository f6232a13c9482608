"""Runners of applications."""

from __future__ import annotations

from datetime import datetime

from fal_host_serverless.account import applications
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.values import RunnerInfo


def list_runners(
    client: SyncServerlessClient, *, since: datetime | None = None
) -> list[RunnerInfo]:
    """List the runners of all applications, with those that have ended after *since*."""
    return client.perform(applications.list_runners(since))


def stop_runner(
    client: SyncServerlessClient, runner_id: str, replace_first: bool = False
) -> None:
    """
    Stop a runner once it has finished its requests.

    Arguments:
        replace_first: Start another runner before.
    """
    client.perform(applications.stop_runner(runner_id, replace_first))


def kill_runner(client: SyncServerlessClient, runner_id: str) -> None:
    """End a runner at once."""
    client.perform(applications.kill_runner(runner_id))
