"""Stages, which fal calls environments."""

from __future__ import annotations

from fal_host_serverless.environments import (
    create_environment,
    delete_environment,
    list_environments,
)

__all__ = [
    "create_environment",
    "delete_environment",
    "list_environments",
]
