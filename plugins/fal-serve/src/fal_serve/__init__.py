"""
Functions and applications as HTTP and realtime services.

It is imported where a service runs as well, and there without fal_core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.answering.cancellation import cancel_on_disconnect, request_cancelled
    from fal_serve.answering.requests import RequestContext
    from fal_serve.answering.tracing import outgoing_headers
    from fal_serve.apps import App
    from fal_serve.client.clients import AppClient, AsyncAppClient
    from fal_serve.declaring.endpoints import endpoint
    from fal_serve.declaring.realtime_endpoints import realtime
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
    from fal_serve.launching.spawns import AppSpawnInfo
    from fal_serve.servables import BaseServable, ServeWrapper
    from fal_serve.serving.applications import FalFastAPI
    from fal_serve.serving.uvicorn_servers import FalServer

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
    "AppClient": "client.clients",
    "AppClientError": "exceptions",
    "AppException": "exceptions",
    "AppSpawnInfo": "launching.spawns",
    "AsyncAppClient": "client.clients",
    "BaseServable": "servables",
    "CUDAOutOfMemoryException": "exceptions",
    "FalFastAPI": "serving.applications",
    "FalServer": "serving.uvicorn_servers",
    "FieldException": "exceptions",
    "GPUException": "exceptions",
    "GPUOutOfMemoryException": "exceptions",
    "HealthCheck": "health",
    "RequestCancelledException": "exceptions",
    "RequestContext": "answering.requests",
    "ServeWrapper": "servables",
    "cancel_on_disconnect": "answering.cancellation",
    "catch_gpu_exceptions": "exceptions",
    "endpoint": "declaring.endpoints",
    "outgoing_headers": "answering.tracing",
    "realtime": "declaring.realtime_endpoints",
    "request_cancelled": "answering.cancellation",
}


if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.

    def __getattr__(name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fal_serve.{module}"), name)
