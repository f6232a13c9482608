"""Runners of an account."""

from __future__ import annotations

from fal_host_serverless.runners import (
    kill_runner,
    list_runners,
    stop_runner,
)

__all__ = [
    "kill_runner",
    "list_runners",
    "stop_runner",
]
