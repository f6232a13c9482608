"""Releases of an application: which one answers, and how a deployment fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest


def release_of(answer: httpx.Response) -> int:
    """Return the release of the application that has answered."""
    release: int = answer.json()["release"]
    return release


def error_of(call: Callable[[], Any]) -> Any:
    """Return the error of gRPC that *call* raises."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value
