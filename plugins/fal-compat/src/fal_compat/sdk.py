"""Values that the API of the service takes and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_compat.declarations import ApplicationHealthCheckConfig, RetryConfig
from fal_compat.exports import lazily

if TYPE_CHECKING:
    from fal_compat.key_credentials import FalServerlessKeyCredentials, get_credentials
    from fal_host_serverless import (
        AliasInfo,
        Credentials,
        EnvironmentInfo,
        KeyPreset,
        KeyScope,
        RegisterApplicationResult,
        RunnerInfo,
        ServerlessSecret,
        UserKeyInfo,
    )
    from fal_host_serverless.values import RunnerState, ServiceURLs
    from fal_serve import HealthCheck

__all__ = [
    "AliasInfo",
    "ApplicationHealthCheckConfig",
    "Credentials",
    "EnvironmentInfo",
    "FalServerlessKeyCredentials",
    "HealthCheck",
    "KeyPreset",
    "KeyScope",
    "RegisterApplicationResult",
    "RetryConfig",
    "RunnerInfo",
    "RunnerState",
    "ServerlessSecret",
    "ServiceURLs",
    "UserKeyInfo",
    "get_credentials",
]

# What programs use that call the service is not there where applications run.
_exports = lazily(
    __name__,
    {
        **dict.fromkeys(
            (
                *("AliasInfo", "EnvironmentInfo", "KeyPreset", "KeyScope"),
                *("RegisterApplicationResult", "RunnerInfo", "RunnerState"),
                *("ServerlessSecret", "ServiceURLs", "UserKeyInfo"),
            ),
            "fal_host_serverless.values",
        ),
        "Credentials": "fal_host_serverless",
        "FalServerlessKeyCredentials": "fal_compat.key_credentials",
        "HealthCheck": "fal_serve",
        "get_credentials": "fal_compat.key_credentials",
    },
)

if not TYPE_CHECKING:
    __getattr__, __dir__ = _exports
