"""Queues of applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.errors import FalServerlessError
from fal_host_serverless.account.queued_requests import find_application
from fal_host_serverless.account.told_facts import forget_nickname
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.errors import ResourceNotFound

if TYPE_CHECKING:
    import httpx


def queue_size(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> int:
    """
    Return the number of requests that wait in the queue of an application.

    Arguments:
        app_name: The name of the application, or ``owner/name`` for that of another owner.
    """
    response = _ask("GET", client, app_name, environment_name).json()
    return int(response.get("size", response.get("queue_size", 0)))


def flush_queue(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> None:
    """Remove all waiting requests from the queue of an application."""
    _ask("DELETE", client, app_name, environment_name)


def _ask(
    method: str, client: SyncServerlessClient, app_name: str, environment_name: str | None
) -> httpx.Response:
    with client.rest() as rest:
        application = find_application(rest, app_name, environment_name)
        try:
            return rest.send(method, f"/applications/{application}/queue")
        except ResourceNotFound as error:
            forget_nickname(rest)
            raise FalServerlessError(
                f"Application {app_name!r} was not found. 'fal-core apps list' lists the "
                "applications, and with '--env' those of another stage."
            ) from error
