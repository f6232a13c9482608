"""The router: from the URL of a request to its application and a runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote, unquote_plus

import attrs
from isolate_proto import controller_pb2 as wire
from yarl import URL

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.errors import Forbidden, NotFound
from fal_server.routing.applications import Application
from fal_server.routing.headers import Headers
from fal_server.routing.leases import Lease
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.specs.runner_specs import WORKFLOW_PREFIX

#: The query parameters that the gateways read and do not forward.
TOKEN, WEBHOOK = "fal_jwt_token", "fal_webhook"


#: The first name in the path of a workflow.
WORKFLOWS = "workflows"


@attrs.frozen(kw_only=True)
class Target:
    """
    The application that a URL names, and the rest of the URL.

    Attributes:
        path: The path within the application with a leading slash, still encoded.

        query: The query, still encoded, without the parameters of the gateways.
    """

    application: Application
    path: str
    query: str

    @property
    def path_and_query(self) -> str:
        """The request target for the application."""
        return f"{self.path}?{self.query}" if self.query else self.path


def split_path(raw_path: str) -> tuple[str, str, str]:
    """
    Return the owner and the alias of an application in the path of a URL, empty where there
    are none, and the path within the application.

    A workflow is an application behind a path of three names, as in ``/workflows/owner/name``.
    """
    names = raw_path.split("/", 4)[1:]
    if len(names) > 2 and names[0] == WORKFLOWS:
        owner, name, *others = names[1:]
        return unquote(owner), workflow_alias(unquote(name)), f"/{''.join(others)}"
    _, owner, alias, rest = (*raw_path.split("/", 3), "", "", "")[:4]
    return unquote(owner), unquote(alias), f"/{rest}"


def workflow_alias(name: str) -> str:
    """Return the alias of the application that is the workflow *name*."""
    return f"{WORKFLOW_PREFIX}{name}"


class Applications(Protocol):
    """Finds applications."""

    def find(self, owner_name: str, alias: str) -> Application:
        """
        Return the application with this owner and alias.

        Raises:
            NotFound: There is none.
        """


@attrs.define(eq=False)
class Router:
    """Finds applications, authorizes callers, and leases runners."""

    catalog: Applications
    identity: CallerIdentity

    def find(self, url: URL) -> Target:
        """
        Return the target of *url*, such as ``/owner/alias/path``.

        Raises:
            NotFound: There is no such application.
        """
        owner, alias, rest = split_path(url.raw_path)
        if not owner or not alias:
            raise NotFound("The URL of an application begins with /owner/name.")
        application = self.catalog.find(owner, alias)
        query = url.raw_query_string
        if query:
            query = "&".join(
                part
                for part in query.split("&")
                if part and unquote_plus(part.partition("=")[0]) not in (TOKEN, WEBHOOK)
            )
        return Target(application=application, path=rest, query=query)

    async def admit(
        self,
        application: Application,
        headers: Headers,
        permission: str = "models:requests:submit",
    ) -> Caller | None:
        """
        Return the caller, or None for an anonymous request to a public application.

        Raises:
            Refusal: The caller may not use the application.
        """
        if application.auth_mode == wire.PUBLIC and "Authorization" not in headers:
            return None
        caller = await self.identity.authenticate_http(headers)
        if application.auth_mode == wire.PRIVATE and caller.user_id != application.owner:
            # Before anything else: who may not use it is not told that there is one.
            raise NotFound(
                f"Application {application.owner_name}/{application.alias} was not found."
            )
        name = application.owner, application.alias
        if caller.applications is not None and name not in caller.applications:
            raise Forbidden("The token is not valid for this application.")
        if application.auth_mode != wire.PUBLIC:
            caller.require(permission)
        return caller

    def lease(
        self,
        application: Application,
        headers: Mapping[str, str],
        request_id: str,
        caller: Caller | None,
        priority: int = 0,
        since: float | None = None,
        room: WaitingRoom | None = None,
        size: int = 0,
    ) -> Lease:
        """
        Return a context manager that holds a slot of a runner.

        Arguments:
            priority: Requests with smaller numbers go first.

            since: When the request was accepted, in seconds of the monotonic clock. The time
                since then counts towards its start timeout. None stands for now.

            room: Where it waits if no slot is free. None for a request that has its place in
                a queue.

            size: The bytes of the request that are in memory while it waits.
        """
        return Lease(application, headers, request_id, caller, priority, since, room, size)
