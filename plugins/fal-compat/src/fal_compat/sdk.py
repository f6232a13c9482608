"""
Values that the API of the service takes and returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
from fal_host_serverless.credentials import KeyCredentials
from fal_host_serverless.credentials import find_credentials as get_credentials
from fal_serve import HealthCheck

if TYPE_CHECKING:
    import grpc

__all__ = [
    "AliasInfo",
    "Credentials",
    "EnvironmentInfo",
    "FalServerlessKeyCredentials",
    "HealthCheck",
    "KeyPreset",
    "KeyScope",
    "RegisterApplicationResult",
    "RunnerInfo",
    "ServerlessSecret",
    "UserKeyInfo",
    "get_credentials",
]


class FalServerlessKeyCredentials(KeyCredentials):
    """
    A key of an account, given as its id and its secret.
    """

    def to_headers(self) -> dict[str, str]:
        """
        Return the headers that HTTP requests carry.
        """
        return self.headers()

    def to_grpc(self) -> grpc.ChannelCredentials:
        """
        Return the credentials of a gRPC channel: TLS, and the key with each request. In test
        mode the channel reaches this machine alone.
        """
        import grpc

        from fal_host_serverless.wire.channels import security

        def sign(_: Any, told: Callable[[Any, Any], None]) -> None:
            told(self.metadata(), None)

        key = grpc.metadata_call_credentials(sign)
        return grpc.composite_channel_credentials(security(), key)
