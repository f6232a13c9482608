"""
Queues: requests that wait for an application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.errors import FalServerlessError
from fal_host_serverless import requests, settings
from fal_host_serverless.deploy import get_user
from fal_host_serverless.rest import NotThere

if TYPE_CHECKING:
    import httpx

    from fal_host_serverless.client import SyncServerlessClient


def queue_size(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> int:
    """
    Return how many requests wait for an application.

    Arguments:
        app_name: Its name, or ``owner/name`` for another owner's.
    """
    answer = _ask("GET", client, app_name, environment_name).json()
    return int(answer.get("size", answer.get("queue_size", 0)))


def flush_queue(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> None:
    """
    Take the requests that wait out of the queue of an application.
    """
    _ask("DELETE", client, app_name, environment_name)


def _ask(
    method: str, client: SyncServerlessClient, app_name: str, environment_name: str | None
) -> httpx.Response:
    with client.rest() as rest:
        path = _path(client, app_name, environment_name)
        try:
            return rest.send(method, path)
        except NotThere as error:
            raise FalServerlessError(
                f"Application {app_name!r} was not found. 'fal-core apps list' shows those "
                "that there are, with '--env' those of another environment."
            ) from error


def _path(client: SyncServerlessClient, app_name: str, environment_name: str | None) -> str:
    owner, separator, name = app_name.rpartition("/")
    name = requests.full_name(name, settings.environment_name(environment_name))
    if not separator:
        owner = get_user(client).username
    return f"/applications/{owner}/{name}/queue"
