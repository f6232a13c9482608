"""
Connections: whom a client asks, and as whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from fal_host_serverless import logins, settings
from fal_host_serverless.credentials import Credentials, KeyCredentials, find_credentials
from fal_host_serverless.rest import RestClient

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_host_serverless.hosts import FalServerlessHost


@attrs.define(eq=False, slots=False)
class Connection:
    """
    Whom a client asks.

    Attributes:
        host: The address of the service; otherwise the usual one, or what the
            environment or the profile names.

        api_key: As ``ID:SECRET``; otherwise that of the environment or the profile.
            It is in no *repr* and no pickle.

        profile: The profile to read, in place of the one in use.

        team: Whom to act for, with the login of a user. A key belongs to one account,
            so that with one it changes nothing, which is told.
    """

    host: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    profile: str | None = None
    team: str | None = None

    @property
    def address(self) -> str:
        """
        The address that is connected to.
        """
        return settings.grpc_host(self.host, profile=self.profile)

    @property
    def credentials(self) -> Credentials:
        """
        Who asks.
        """
        found = find_credentials(self.api_key, self.profile, self.team).at(self.address)
        if self.team and isinstance(found, KeyCredentials):
            logins.tell_of_key(found, self.address, found.key_id, self.team)
        return found

    def rest(self) -> RestClient:
        """
        Return the REST service beside the address.
        """
        return RestClient(self.address, self.credentials)

    def make_host(
        self, *, local_file_path: str = "", environment_name: str | None = None
    ) -> FalServerlessHost:
        """
        Return the host that runs functions there.
        """
        from fal_host_serverless.hosts import FalServerlessHost

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
        fields = attrs.fields(Connection)
        return {field.name: getattr(self, field.name) for field in fields} | {"api_key": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)
