"""The service that requests go to."""

from __future__ import annotations

import attrs

from fal_host_serverless.wire.identities import Identity
from fal_host_serverless.wire.rest import RestClient, SharedRestClient


@attrs.frozen(kw_only=True)
class Service:
    """
    A service, who asks it, and what requests to it are about.

    Attributes:
        address: The gRPC address.

        credentials: Identify the sender of each request.

        stage: The stage to work in; the main one where it is None.

        local_file_path: The file of the function, which *app_files* and paths in
            requirements are relative to; the working directory where it is empty.
    """

    address: str
    credentials: Identity
    stage: str | None = None
    local_file_path: str = ""

    def rest(self) -> RestClient:
        """Return a client of the REST service that belongs to the address."""
        return RestClient(self.address, self.credentials)

    def shared_rest(self) -> RestClient:
        """Return such a client for requests that are made often, without connections of its own."""
        return SharedRestClient(self.address, self.credentials)
