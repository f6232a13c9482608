"""
The router: from the URL of a request to an application, and to a runner of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import attrs
from isolate_proto import controller_pb2 as wire
from yarl import URL

from fal_server.access.callers import Caller
from fal_server.access.identities import Identity
from fal_server.errors import Forbidden, NotFound
from fal_server.routing.applications import Application
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.headers import Headers
from fal_server.routing.leases import Lease

#: Query parameters that are the gateways' own.
TOKEN, WEBHOOK = "fal_jwt_token", "fal_webhook"


@attrs.frozen(kw_only=True)
class Target:
    """
    What a url asks for.

    Attributes:
        path: What the application is asked for, from its first slash on, as it was
            written.

        query: What follows it, as it was written, without what is the gateways' own.
    """

    application: Application
    path: str
    query: str

    @property
    def path_and_query(self) -> str:
        """
        What the application is asked for.
        """
        return f"{self.path}?{self.query}" if self.query else self.path


@attrs.define(eq=False)
class Router:
    """
    Finds applications, sees who may use them, and leases runners.
    """

    catalog: ApplicationCatalog
    identity: Identity

    def find(self, url: URL) -> Target:
        """
        Return what *url*, as in ``/owner/alias/rest``, asks for.

        Raises:
            NotFound: There is no such application.
        """
        parts = url.raw_path.split("/", 3)
        if len(parts) < 3 or not parts[1] or not parts[2]:
            raise NotFound("An application is called as /owner/name.")
        rest = "/" + parts[3] if len(parts) > 3 else "/"
        application = self.catalog.find(unquote(parts[1]), unquote(parts[2]))
        query = url.raw_query_string
        if query:
            query = "&".join(
                part
                for part in query.split("&")
                if part and part.partition("=")[0] not in (TOKEN, WEBHOOK)
            )
        return Target(application=application, path=rest, query=query)

    async def admit(
        self,
        application: Application,
        headers: Headers,
        permission: str = "models:requests:submit",
    ) -> Caller | None:
        """
        Return who asks, None for somebody unknown where anybody may.

        Raises:
            Refusal: They may not.
        """
        if application.auth_mode == wire.PUBLIC and "Authorization" not in headers:
            return None
        caller = await self.identity.authenticate_http(headers)
        if caller.applications is not None and application.alias not in caller.applications:
            raise Forbidden("The token is for other applications.")
        if application.auth_mode == wire.PUBLIC:
            return caller
        caller.require(permission)
        if application.auth_mode == wire.PRIVATE and caller.user_id != application.owner:
            raise NotFound(
                f"Application {application.owner_name}/{application.alias} was not found."
            )
        return caller

    def lease(
        self,
        application: Application,
        headers: Mapping[str, str],
        request_id: str,
        caller: Caller | None,
        priority: int = 0,
        since: float | None = None,
    ) -> Lease:
        """
        Have a place of a runner within the context that is returned.

        Arguments:
            since: When it was asked for, in seconds of the monotonic clock; now where that
                is None.
        """
        return Lease(application, headers, request_id, caller, priority, since)
