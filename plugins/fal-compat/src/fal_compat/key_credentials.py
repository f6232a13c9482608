"""Keys of accounts, as requests of HTTP and of gRPC carry them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_host_serverless.credentials import Credentials, KeyCredentials, find_credentials

if TYPE_CHECKING:
    import grpc


class FalServerlessKeyCredentials(KeyCredentials):
    """A key of an account, given as its id and its secret."""

    def to_headers(self) -> dict[str, str]:
        """Return the headers that HTTP requests carry."""
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


def get_credentials(
    team: str | None = None, key: str | None = None, profile: str | None = None
) -> Credentials:
    """Return *key*, else the one of the environment or of *profile*, else a login, for *team*."""
    found = find_credentials(api_key=key, profile=profile, team=team)
    if isinstance(found, KeyCredentials):
        return FalServerlessKeyCredentials(found.key_id, found.key_secret)
    return found
