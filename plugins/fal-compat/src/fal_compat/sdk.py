"""
Values that the API of the service takes and returns.
"""

from __future__ import annotations

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
