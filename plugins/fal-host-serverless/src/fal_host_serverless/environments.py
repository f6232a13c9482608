"""
Environments of the service: applications and secrets apart from others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_host_serverless import operations
from fal_host_serverless.values import EnvironmentInfo

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def create_environment(
    client: SyncServerlessClient, name: str, description: str | None = None
) -> EnvironmentInfo:
    """
    Create an environment.
    """
    return client.perform(operations.create_environment(name, description))


def delete_environment(client: SyncServerlessClient, name: str) -> None:
    """
    Remove an environment, and what is in it.
    """
    client.perform(operations.delete_environment(name))


def list_environments(client: SyncServerlessClient) -> list[EnvironmentInfo]:
    """
    List the environments.
    """
    return client.perform(operations.list_environments())
