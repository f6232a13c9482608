"""Functions and hosts."""

from __future__ import annotations

from fal_compat.container import ContainerImage
from fal_compat.functions import function
from fal_core import (
    FalMissingDependencyError,
    FalSerializationError,
    FalServerlessError,
    FalServerlessException,
    Host,
    InternalFalServerlessError,
    IsolatedFunction,
    Options,
    RouteSignature,
    ServedIsolatedFunction,
    SpawnInfo,
    UserFunctionException,
    cached,
    find_missing_dependencies,
    merge_basic_config,
)
from fal_host_local import LocalHost
from fal_host_serverless import Credentials, FalServerlessHost, RegisterApplicationResult
from fal_serve import BaseServable, FalFastAPI, FalServer, HealthCheck, ServeWrapper

__all__ = [
    "BaseServable",
    "ContainerImage",
    "Credentials",
    "FalFastAPI",
    "FalMissingDependencyError",
    "FalSerializationError",
    "FalServer",
    "FalServerlessError",
    "FalServerlessException",
    "FalServerlessHost",
    "HealthCheck",
    "Host",
    "InternalFalServerlessError",
    "IsolatedFunction",
    "LocalHost",
    "Options",
    "RegisterApplicationResult",
    "RouteSignature",
    "ServeWrapper",
    "ServedIsolatedFunction",
    "SpawnInfo",
    "UserFunctionException",
    "cached",
    "find_missing_dependencies",
    "function",
    "merge_basic_config",
]
