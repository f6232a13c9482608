"""
Keys: who may ask the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_host_serverless import operations
from fal_host_serverless.values import KeyScope, UserKeyInfo

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


def create_key(
    client: SyncServerlessClient, *, scope: KeyScope, description: str | None = None
) -> tuple[str, str]:
    """
    Create a key and return its id and its secret, which is told this once.
    """
    return client.perform(operations.create_key(scope, description))


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
