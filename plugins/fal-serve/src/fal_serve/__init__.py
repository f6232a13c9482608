"""
Functions and applications as HTTP and realtime services.

It is imported where a service runs as well, and there without fal_core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.answering.cancellation import cancel_on_disconnect as cancel_on_disconnect
    from fal_serve.answering.cancellation import request_cancelled as request_cancelled
    from fal_serve.answering.requests import RequestContext as RequestContext
    from fal_serve.answering.tracing import outgoing_headers as outgoing_headers
    from fal_serve.apps import App as App
    from fal_serve.client.clients import AppClient as AppClient
    from fal_serve.client.clients import AsyncAppClient as AsyncAppClient
    from fal_serve.declaring.endpoints import endpoint as endpoint
    from fal_serve.declaring.realtime_endpoints import realtime as realtime
    from fal_serve.exceptions import AppClientError as AppClientError
    from fal_serve.exceptions import AppException as AppException
    from fal_serve.exceptions import CUDAOutOfMemoryException as CUDAOutOfMemoryException
    from fal_serve.exceptions import FieldException as FieldException
    from fal_serve.exceptions import GPUException as GPUException
    from fal_serve.exceptions import GPUOutOfMemoryException as GPUOutOfMemoryException
    from fal_serve.exceptions import RequestCancelledException as RequestCancelledException
    from fal_serve.exceptions import catch_gpu_exceptions as catch_gpu_exceptions
    from fal_serve.health import HealthCheck as HealthCheck
    from fal_serve.launching.spawns import AppSpawnInfo as AppSpawnInfo
    from fal_serve.servables import BaseServable as BaseServable
    from fal_serve.servables import ServeWrapper as ServeWrapper
    from fal_serve.serving.applications import FalFastAPI as FalFastAPI
    from fal_serve.serving.uvicorn_servers import FalServer as FalServer
else:
    # For type checkers, a name that is not there is an error.
    _TABLE = {
        "answering.cancellation": "cancel_on_disconnect request_cancelled",
        "answering.requests": "RequestContext",
        "answering.tracing": "outgoing_headers",
        "apps": "App",
        "client.clients": "AppClient AsyncAppClient",
        "declaring.endpoints": "endpoint",
        "declaring.realtime_endpoints": "realtime",
        "exceptions": (
            "AppClientError AppException CUDAOutOfMemoryException FieldException GPUException "
            "GPUOutOfMemoryException RequestCancelledException catch_gpu_exceptions"
        ),
        "health": "HealthCheck",
        "launching.spawns": "AppSpawnInfo",
        "servables": "BaseServable ServeWrapper",
        "serving.applications": "FalFastAPI",
        "serving.uvicorn_servers": "FalServer",
    }
    _MODULES = {name: module for module, names in _TABLE.items() for name in names.split()}
    __all__ = sorted(_MODULES)

    def __getattr__(name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fal_serve.{module}"), name)
