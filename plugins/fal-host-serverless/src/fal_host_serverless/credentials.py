"""Credentials: what identifies the sender of requests."""

from __future__ import annotations

from fal_host_serverless.account.credentials import (
    Credentials,
    KeyCredentials,
    LoginCredentials,
    MissingCredentials,
    find_credentials,
)

__all__ = [
    "Credentials",
    "KeyCredentials",
    "LoginCredentials",
    "MissingCredentials",
    "find_credentials",
]
