"""Keys of the account."""

from __future__ import annotations

from collections.abc import Sequence

from fal_host_serverless.account import access
from fal_host_serverless.client import SyncServerlessClient
from fal_host_serverless.values import KeyPreset, KeyScope, UserKeyInfo


def create_key(
    client: SyncServerlessClient,
    *,
    scope: KeyScope | str | None = None,
    description: str | None = None,
    preset: KeyPreset | str | None = None,
    permissions: Sequence[str] | None = None,
) -> tuple[str, str]:
    """
    Create a key and return its id and its secret, which is shown only once.

    Exactly one of *scope*, *preset* and *permissions* says what it may do.

    Arguments:
        scope: Everything, or only calling applications.

        preset: A set of permissions that the service names, as in ``deploy``.

        permissions: Names of permissions, as in ``["serverless:apps:run"]``.
    """
    return client.perform(access.create_key(scope, description, preset, permissions))


def list_keys(client: SyncServerlessClient) -> list[UserKeyInfo]:
    """List the keys, without their secrets."""
    return client.perform(access.list_keys())


def revoke_key(client: SyncServerlessClient, key_id: str) -> None:
    """Revoke a key."""
    client.perform(access.revoke_key(key_id))
