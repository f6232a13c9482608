"""Secrets of an account."""

from __future__ import annotations

from fal_host_serverless.secrets import (
    list_secrets,
    set_secret,
    unset_secret,
)

__all__ = [
    "list_secrets",
    "set_secret",
    "unset_secret",
]
