"""Values that the API of the service takes and returns."""

from typing import TYPE_CHECKING

from fal_compat.declarations import ApplicationHealthCheckConfig as ApplicationHealthCheckConfig
from fal_compat.declarations import RetryConfig as RetryConfig
from fal_compat.exports import lazily

if TYPE_CHECKING:
    from fal_compat.key_credentials import (
        FalServerlessKeyCredentials as FalServerlessKeyCredentials,
    )
    from fal_compat.key_credentials import get_credentials as get_credentials
    from fal_host_serverless import Credentials as Credentials
    from fal_host_serverless.values import AliasInfo as AliasInfo
    from fal_host_serverless.values import EnvironmentInfo as EnvironmentInfo
    from fal_host_serverless.values import KeyPreset as KeyPreset
    from fal_host_serverless.values import KeyScope as KeyScope
    from fal_host_serverless.values import (
        RegisterApplicationResult as RegisterApplicationResult,
    )
    from fal_host_serverless.values import RunnerInfo as RunnerInfo
    from fal_host_serverless.values import RunnerState as RunnerState
    from fal_host_serverless.values import ServerlessSecret as ServerlessSecret
    from fal_host_serverless.values import ServiceURLs as ServiceURLs
    from fal_host_serverless.values import UserKeyInfo as UserKeyInfo
    from fal_serve import HealthCheck as HealthCheck
else:
    # What programs use that call the service is not there where applications run.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_compat.key_credentials": "FalServerlessKeyCredentials get_credentials",
            "fal_host_serverless": "Credentials",
            "fal_host_serverless.values": (
                "AliasInfo EnvironmentInfo KeyPreset KeyScope RegisterApplicationResult "
                "RunnerInfo RunnerState ServerlessSecret ServiceURLs UserKeyInfo"
            ),
            "fal_serve": "HealthCheck",
        },
    )
    __all__ += ["ApplicationHealthCheckConfig", "RetryConfig"]
