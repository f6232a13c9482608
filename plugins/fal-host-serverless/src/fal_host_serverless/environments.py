"""
Stages: sets of applications and secrets that are separate from each other.

The API of fal calls them environments.
"""

from __future__ import annotations

from fal_host_serverless.account import access
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.values import EnvironmentInfo


def create_environment(
    client: SyncServerlessClient, name: str, description: str | None = None
) -> EnvironmentInfo:
    """Create a stage."""
    return client.perform(access.create_stage(name, description))


def delete_environment(client: SyncServerlessClient, name: str) -> None:
    """Delete a stage with its applications and secrets."""
    client.perform(access.delete_stage(name))


def list_environments(client: SyncServerlessClient) -> list[EnvironmentInfo]:
    """List the stages."""
    return client.perform(access.list_stages())
