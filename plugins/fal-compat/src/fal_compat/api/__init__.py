"""Functions, hosts, and the client of an account."""

from typing import TYPE_CHECKING

from fal_compat.api.api import *  # noqa: F403  # as fal's does
from fal_compat.exports import lazily
from fal_host_serverless import (
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

if not TYPE_CHECKING:
    __getattr__, __dir__, _ = lazily(
        __name__,
        {},
        ("apps", "client", "deploy", "environments", "keys", "runners", "secrets"),
    )
