"""
Keys: who may ask the service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fal_host_serverless import operations
from fal_host_serverless.values import KeyPreset, KeyScope, UserKeyInfo

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def create_key(
    client: SyncServerlessClient,
    *,
    scope: KeyScope | str | None = None,
    description: str | None = None,
    preset: KeyPreset | str | None = None,
    permissions: Sequence[str] | None = None,
) -> tuple[str, str]:
    """
    Create a key and return its id and its secret, which is told this once.

    What it may do is one of the three:

    Arguments:
        scope: Everything, or calling applications.

        preset: What the service has a name for, as in ``deploy``.

        permissions: As in ``["serverless:apps:run"]``; the service knows their names.
    """
    return client.perform(operations.create_key(scope, description, preset, permissions))


def list_keys(client: SyncServerlessClient) -> list[UserKeyInfo]:
    """
    List the keys, without their secrets.
    """
    return client.perform(operations.list_keys())


def revoke_key(client: SyncServerlessClient, key_id: str) -> None:
    """
    Have a key accepted no more.
    """
    client.perform(operations.revoke_key(key_id))
