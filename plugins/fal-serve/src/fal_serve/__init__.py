"""
Functions and applications as HTTP and realtime services.

It is imported where a service runs as well, and there without fal_core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.applications import FalFastAPI
    from fal_serve.apps import App
    from fal_serve.cancellation import cancel_on_disconnect, request_cancelled
    from fal_serve.clients import AppClient, AsyncAppClient
    from fal_serve.endpoints import endpoint
    from fal_serve.exceptions import (
        AppClientError,
        AppException,
        CUDAOutOfMemoryException,
        FieldException,
        GPUException,
        GPUOutOfMemoryException,
        RequestCancelledException,
        catch_gpu_exceptions,
    )
    from fal_serve.health import HealthCheck
    from fal_serve.realtime_endpoints import realtime
    from fal_serve.requests import RequestContext
    from fal_serve.servables import BaseServable, ServeWrapper
    from fal_serve.servers import FalServer
    from fal_serve.spawns import AppSpawnInfo
    from fal_serve.tracing import outgoing_headers

__all__ = [
    "App",
    "AppClient",
    "AppClientError",
    "AppException",
    "AppSpawnInfo",
    "AsyncAppClient",
    "BaseServable",
    "CUDAOutOfMemoryException",
    "FalFastAPI",
    "FalServer",
    "FieldException",
    "GPUException",
    "GPUOutOfMemoryException",
    "HealthCheck",
    "RequestCancelledException",
    "RequestContext",
    "ServeWrapper",
    "cancel_on_disconnect",
    "catch_gpu_exceptions",
    "endpoint",
    "outgoing_headers",
    "realtime",
    "request_cancelled",
]

_MODULES = {
    "App": "apps",
    "AppClient": "clients",
    "AppClientError": "exceptions",
    "AppException": "exceptions",
    "AppSpawnInfo": "spawns",
    "AsyncAppClient": "clients",
    "BaseServable": "servables",
    "CUDAOutOfMemoryException": "exceptions",
    "FalFastAPI": "applications",
    "FalServer": "servers",
    "FieldException": "exceptions",
    "GPUException": "exceptions",
    "GPUOutOfMemoryException": "exceptions",
    "HealthCheck": "health",
    "RequestCancelledException": "exceptions",
    "RequestContext": "requests",
    "ServeWrapper": "servables",
    "cancel_on_disconnect": "cancellation",
    "catch_gpu_exceptions": "exceptions",
    "endpoint": "endpoints",
    "outgoing_headers": "tracing",
    "realtime": "realtime_endpoints",
    "request_cancelled": "cancellation",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"fal_serve.{module}"), name)
