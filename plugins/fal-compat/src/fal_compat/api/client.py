"""The client of an account."""

from __future__ import annotations

from fal_host_serverless.client import (
    AppsNamespace,
    KeysNamespace,
    RunnersNamespace,
    SecretsNamespace,
    SyncServerlessClient,
)

__all__ = [
    "AppsNamespace",
    "KeysNamespace",
    "RunnersNamespace",
    "SecretsNamespace",
    "SyncServerlessClient",
]
