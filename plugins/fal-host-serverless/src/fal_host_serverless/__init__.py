"""Functions on fal.ai, or on a server that speaks its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

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
        SubmittedRequest,
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
    "SubmittedRequest",
    "SyncServerlessClient",
    "UserKeyInfo",
]

_exports = lazily(
    __name__,
    {
        "AliasInfo": "fal_host_serverless.values",
        "AppsNamespace": "fal_host_serverless.client",
        "AsyncServerlessClient": "fal_host_serverless.client_aio",
        "Credentials": "fal_host_serverless.credentials",
        "EnvironmentInfo": "fal_host_serverless.values",
        "FalServerlessHost": "fal_host_serverless.hosts",
        "KeyPreset": "fal_host_serverless.values",
        "KeyScope": "fal_host_serverless.values",
        "KeysNamespace": "fal_host_serverless.client",
        "RegisterApplicationResult": "fal_host_serverless.values",
        "RunnerInfo": "fal_host_serverless.values",
        "RunnersNamespace": "fal_host_serverless.client",
        "SecretsNamespace": "fal_host_serverless.client",
        "ServerlessSecret": "fal_host_serverless.values",
        "SubmittedRequest": "fal_host_serverless.values",
        "SyncServerlessClient": "fal_host_serverless.client",
        "UserKeyInfo": "fal_host_serverless.values",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
