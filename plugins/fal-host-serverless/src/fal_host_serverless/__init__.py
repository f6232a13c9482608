"""Functions on fal.ai, or on a server that speaks its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_host_serverless.client import AppsNamespace as AppsNamespace
    from fal_host_serverless.client import KeysNamespace as KeysNamespace
    from fal_host_serverless.client import RunnersNamespace as RunnersNamespace
    from fal_host_serverless.client import SecretsNamespace as SecretsNamespace
    from fal_host_serverless.client import SyncServerlessClient as SyncServerlessClient
    from fal_host_serverless.client_aio import AsyncServerlessClient as AsyncServerlessClient
    from fal_host_serverless.credentials import Credentials as Credentials
    from fal_host_serverless.hosts import FalServerlessHost as FalServerlessHost
    from fal_host_serverless.values import AliasInfo as AliasInfo
    from fal_host_serverless.values import EnvironmentInfo as EnvironmentInfo
    from fal_host_serverless.values import KeyPreset as KeyPreset
    from fal_host_serverless.values import KeyScope as KeyScope
    from fal_host_serverless.values import (
        RegisterApplicationResult as RegisterApplicationResult,
    )
    from fal_host_serverless.values import RunnerInfo as RunnerInfo
    from fal_host_serverless.values import ServerlessSecret as ServerlessSecret
    from fal_host_serverless.values import SubmittedRequest as SubmittedRequest
    from fal_host_serverless.values import UserKeyInfo as UserKeyInfo
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_host_serverless.client": (
                "AppsNamespace KeysNamespace RunnersNamespace SecretsNamespace "
                "SyncServerlessClient"
            ),
            "fal_host_serverless.client_aio": "AsyncServerlessClient",
            "fal_host_serverless.credentials": "Credentials",
            "fal_host_serverless.hosts": "FalServerlessHost",
            "fal_host_serverless.values": (
                "AliasInfo EnvironmentInfo KeyPreset KeyScope RegisterApplicationResult "
                "RunnerInfo ServerlessSecret SubmittedRequest UserKeyInfo"
            ),
        },
    )
