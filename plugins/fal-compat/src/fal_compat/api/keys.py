"""Keys of an account."""

from __future__ import annotations

from fal_host_serverless.keys import (
    create_key,
    list_keys,
    revoke_key,
)

__all__ = [
    "create_key",
    "list_keys",
    "revoke_key",
]
