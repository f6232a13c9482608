"""Secrets: values that functions see as environment variables."""

from __future__ import annotations

from fal_host_serverless.account import access
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.values import ServerlessSecret


def list_secrets(
    client: SyncServerlessClient, environment_name: str | None = None
) -> list[ServerlessSecret]:
    """List the secrets, without their values."""
    return client.perform(access.list_secrets(environment_name))


def set_secret(
    client: SyncServerlessClient,
    name: str,
    value: str,
    environment_name: str | None = None,
    default_exposed: bool | None = None,
) -> None:
    """
    Set a secret.

    Arguments:
        default_exposed: Whether functions that name no secrets see it; None leaves that
            as it is.
    """
    client.perform(access.set_secret(name, value, environment_name, default_exposed))


def unset_secret(
    client: SyncServerlessClient, name: str, environment_name: str | None = None
) -> None:
    """Remove a secret."""
    client.perform(access.set_secret(name, None, environment_name))
