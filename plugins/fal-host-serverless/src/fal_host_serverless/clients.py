"""What the synchronous and the asynchronous client share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from fal_host_serverless.account import addresses, logins
from fal_host_serverless.account.credentials import (
    Credentials,
    KeyCredentials,
    find_credentials,
)
from fal_host_serverless.hosts import FalServerlessHost
from fal_host_serverless.wire.rest import RestClient
from fal_host_serverless.wire.services import Service

if TYPE_CHECKING:
    from typing_extensions import Self


@attrs.define(eq=False, slots=False)
class ServiceClient:
    """
    The service that a client asks, and its credentials there.

    Attributes:
        host: The address of the service. By default variables or the profile name it.

        api_key: A key, as ``ID:SECRET``. By default credentials are looked up in
            variables, the profile and the login. It is in no *repr* and no pickle.

        profile: The profile to read, in place of the one in use.

        team: The team that a login acts for. A key belongs to one account and ignores
            it, with a warning.
    """

    host: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    profile: str | None = None
    team: str | None = None

    @property
    def address(self) -> str:
        """The address that is connected to."""
        return addresses.find_address(self.host, profile=self.profile)

    @property
    def credentials(self) -> Credentials:
        """The credentials that requests carry."""
        address = self.address
        found = find_credentials(self.api_key, self.profile, self.team).at(address)
        if self.team and isinstance(found, KeyCredentials):
            logins.warn_of_key(found, address, found.key_id, self.team)
        return found

    def find_service(self) -> Service:
        """
        Return the service, as variables and the profile name it now.

        Raises:
            FalServerlessError: The address or a key is wrong, or there is no such profile.
        """
        return Service(address=self.address, credentials=self.credentials)

    def rest(self) -> RestClient:
        """Return a client of the REST service that belongs to the address."""
        return self.find_service().rest()

    def make_host(
        self, *, local_file_path: str = "", environment_name: str | None = None
    ) -> FalServerlessHost:
        """Return the host that runs functions on the service."""
        return FalServerlessHost(
            self.address,
            local_file_path=local_file_path,
            credentials=self.credentials,
            environment_name=environment_name,
        )

    # A copy stays in this process, and keeps the key; a pickle may go anywhere.

    def __copy__(self) -> Self:
        return attrs.evolve(self)

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return attrs.evolve(self)

    def __getstate__(self) -> dict[str, Any]:
        fields = attrs.fields(ServiceClient)
        return {field.name: getattr(self, field.name) for field in fields} | {"api_key": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)
