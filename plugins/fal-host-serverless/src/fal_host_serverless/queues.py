"""
Queues: requests that wait for an application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_host_serverless import requests, settings
from fal_host_serverless.deploy import get_user

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def queue_size(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> int:
    """
    Return how many requests wait for an application.

    Arguments:
        app_name: Its name, or ``owner/name`` for another owner's.
    """
    with client.rest() as rest:
        answer = rest.send("GET", _path(client, app_name, environment_name)).json()
    return int(answer.get("size", answer.get("queue_size", 0)))


def flush_queue(
    client: SyncServerlessClient, app_name: str, environment_name: str | None = None
) -> None:
    """
    Take the requests that wait out of the queue of an application.
    """
    with client.rest() as rest:
        rest.send("DELETE", _path(client, app_name, environment_name))


def _path(client: SyncServerlessClient, app_name: str, environment_name: str | None) -> str:
    owner, separator, name = app_name.rpartition("/")
    name = requests.full_name(name, settings.environment_name(environment_name))
    if not separator:
        owner = get_user(client).username
    return f"/applications/{owner}/{name}/queue"
