"""
Functions and applications as HTTP and realtime services.

It is imported where a service runs as well, and there without fal_core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.applications import FalFastAPI
    from fal_serve.requests import RequestContext
    from fal_serve.servables import BaseServable
    from fal_serve.servers import FalServer
    from fal_serve.wrappers import ServeWrapper

__all__ = ["BaseServable", "FalFastAPI", "FalServer", "RequestContext", "ServeWrapper"]

_MODULES = {
    "BaseServable": "servables",
    "FalFastAPI": "applications",
    "FalServer": "servers",
    "RequestContext": "requests",
    "ServeWrapper": "wrappers",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"fal_serve.{module}"), name)
