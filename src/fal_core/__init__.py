"""
Run Python functions anywhere: one decorator, and every host is a plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fal_core.decorators import function
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalCoreError,
    FalMissingDependencyError,
    FalSerializationError,
    FalServerlessError,
    FalServerlessException,
    HostClosed,
    HostError,
    InternalFalServerlessError,
    OptionError,
    OptionTypeError,
    OptionValueError,
    OutOfMemory,
    PluginError,
    PortTaken,
    StartupTimeout,
    Timeout,
    UnknownNameError,
    UnknownOptionError,
    UnsupportedError,
    UserFunctionException,
    WorkerLost,
    WrongKindError,
)
from fal_core.functions import IsolatedFunction, ServedIsolatedFunction
from fal_core.hooks import API_VERSION, hookimpl
from fal_core.hosts import Capabilities, Execution, ExecutionStatus, Host
from fal_core.options import Gateway, HostOptions, Options, merge_basic_config

if TYPE_CHECKING:
    from fal_core.caches import cached
    from fal_core.calling.attaching import attach
    from fal_core.routes import RouteSignature
    from fal_core.sealing.dependencies import find_missing_dependencies
    from fal_core.spawns import SpawnInfo

__all__ = [
    "API_VERSION",
    "Cancelled",
    "Capabilities",
    "EnvironmentBuildError",
    "Execution",
    "ExecutionStatus",
    "FalCoreError",
    "FalMissingDependencyError",
    "FalSerializationError",
    "FalServerlessError",
    "FalServerlessException",
    "Gateway",
    "Host",
    "HostClosed",
    "HostError",
    "HostOptions",
    "InternalFalServerlessError",
    "IsolatedFunction",
    "OptionError",
    "OptionTypeError",
    "OptionValueError",
    "Options",
    "OutOfMemory",
    "PluginError",
    "PortTaken",
    "RouteSignature",
    "ServedIsolatedFunction",
    "SpawnInfo",
    "StartupTimeout",
    "Timeout",
    "UnknownNameError",
    "UnknownOptionError",
    "UnsupportedError",
    "UserFunctionException",
    "WorkerLost",
    "WrongKindError",
    "attach",
    "cached",
    "find_missing_dependencies",
    "function",
    "hookimpl",
    "merge_basic_config",
]

# Imported on first use: the rest of the package starts without them.
_LAZY = {
    "RouteSignature": "fal_core.routes",
    "SpawnInfo": "fal_core.spawns",
    "attach": "fal_core.calling.attaching",
    "cached": "fal_core.caches",
    "find_missing_dependencies": "fal_core.sealing.dependencies",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
