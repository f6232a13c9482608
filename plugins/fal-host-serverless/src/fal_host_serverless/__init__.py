"""
Functions on fal.ai, or on a server that speaks its protocol.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_host_serverless.client import (
        AppsNamespace,
        KeysNamespace,
        RunnersNamespace,
        SecretsNamespace,
        SyncServerlessClient,
    )
    from fal_host_serverless.client_aio import AsyncServerlessClient
    from fal_host_serverless.credentials import Credentials
    from fal_host_serverless.hosts import FalServerlessHost
    from fal_host_serverless.values import (
        AliasInfo,
        EnvironmentInfo,
        KeyPreset,
        KeyScope,
        RegisterApplicationResult,
        RunnerInfo,
        ServerlessSecret,
        UserKeyInfo,
    )

__all__ = [
    "AliasInfo",
    "AppsNamespace",
    "AsyncServerlessClient",
    "Credentials",
    "EnvironmentInfo",
    "FalServerlessHost",
    "KeyPreset",
    "KeyScope",
    "KeysNamespace",
    "RegisterApplicationResult",
    "RunnerInfo",
    "RunnersNamespace",
    "SecretsNamespace",
    "ServerlessSecret",
    "SyncServerlessClient",
    "UserKeyInfo",
]

_MODULES = {
    "AppsNamespace": "client",
    "AsyncServerlessClient": "client_aio",
    "Credentials": "credentials",
    "FalServerlessHost": "hosts",
    "KeysNamespace": "client",
    "RunnersNamespace": "client",
    "SecretsNamespace": "client",
    "SyncServerlessClient": "client",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, "values")
    return getattr(importlib.import_module(f"fal_host_serverless.{module}"), name)
