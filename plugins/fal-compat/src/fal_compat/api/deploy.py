"""Deployments."""

from __future__ import annotations

from fal_host_serverless.deploy import (
    DeploymentResult,
    User,
    deploy,
)

__all__ = [
    "DeploymentResult",
    "User",
    "deploy",
]
