"""Applications of an account."""

from __future__ import annotations

from fal_host_serverless.apps import (
    apps_runners,
    list_apps,
    rollout_app,
    scale_app,
)

__all__ = [
    "apps_runners",
    "list_apps",
    "rollout_app",
    "scale_app",
]
