"""The routes that create tokens, for clients that must not get a key."""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import parse_qs

from aiohttp import web
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.access.identities import REQUESTS, UPLOADS, CallerIdentity
from fal_server.errors import Invalid, NotFound
from fal_server.http.api import ApiRoute, OpenRoute
from fal_server.http.bodies import read_object, to_text
from fal_server.listeners.urls import Urls
from fal_server.routing.catalogs import ApplicationCatalog

#: Seconds that a token for requests is valid: by default, and at most.
_SECONDS, _MOST_SECONDS = 120.0, 24 * 3600.0

#: Seconds that a token for uploads is valid.
_UPLOAD_SECONDS = 3600.0

#: The longest form of a client that logs out, in bytes.
_LONGEST_FORM = 16 << 10

#: The most applications of one token.
_MOST_APPLICATIONS = 32


class TokenRoutes:
    """Answers the routes that create short-lived tokens for requests and uploads."""

    def __init__(
        self, identity: CallerIdentity, catalog: ApplicationCatalog, urls: Urls
    ) -> None:
        self._identity = identity
        self._tokens = identity.tokens
        self._catalog = catalog
        self._urls = urls

    def routes(self) -> Iterable[ApiRoute | OpenRoute]:
        """Return the routes."""
        upload = "/storage/auth/token"
        return [
            ApiRoute("POST", "/tokens/", "models:requests:submit", self._for_requests),
            ApiRoute("POST", upload, "storage:files:write", self._for_uploads),
            OpenRoute("POST", "/oauth/revoke", self._revoke),
        ]

    async def _revoke(self, request: web.Request) -> web.Response:
        """End a login, as ``fal auth logout`` asks the service that issued it."""
        if (request.content_length or _LONGEST_FORM) < _LONGEST_FORM:
            form = parse_qs((await request.read()).decode("latin-1"))
            await self._identity.log_out(form.get("token", [""])[0])
        return web.json_response({})

    async def _for_uploads(self, request: web.Request, caller: Caller) -> web.Response:
        token = self._tokens.make(
            UPLOADS, caller.user_id, key=caller.key_id, seconds=_UPLOAD_SECONDS
        )
        return web.json_response(
            {
                "token": token,
                "token_type": "Bearer",
                "base_url": self._urls.api_base(request.host),
                "expires_at": to_text(time.time() + _UPLOAD_SECONDS),
            }
        )

    async def _for_requests(self, request: web.Request, caller: Caller) -> web.Response:
        content = await read_object(request)
        names = content.get("allowed_apps")
        if (
            not isinstance(names, list)
            or not 0 < len(names) <= _MOST_APPLICATIONS
            or not all(isinstance(name, str) and len(name) <= 80 for name in names)
        ):
            raise Invalid(
                f"'allowed_apps' must be a list of 1 to {_MOST_APPLICATIONS} short names."
            )
        seconds = content.get("token_expiration", _SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise Invalid("'token_expiration' must be a number of seconds.")
        if not 0 < seconds <= _MOST_SECONDS:
            raise Invalid(f"A token can be valid for at most {_MOST_SECONDS:.0f} seconds.")
        allowed: dict[str, list[str]] = {}
        for name in names:
            for owner, alias in self._named_by(caller, name):
                allowed.setdefault(owner, []).append(alias)
        token = self._tokens.make(
            REQUESTS, caller.user_id, key=caller.key_id, seconds=seconds, apps=allowed
        )
        return web.json_response(token)

    def _named_by(self, caller: Caller, name: str) -> list[tuple[str, str]]:
        """
        Return the account and the alias of each application that a client names: by its
        alias alone, as the released clients do, or by its owner and alias.

        An alias stands for an application of the caller, and for those of others that the
        caller may use if the caller has none of that name.

        Raises:
            NotFound: An application of another account does not exist, or is private.
        """
        owner_name, _, alias = name.rpartition("/")
        if owner_name and owner_name != caller.nickname:
            application = self._catalog.find(owner_name, alias)
            if application.auth_mode == wire.PRIVATE:
                raise NotFound(f"Application {name[:80]} was not found.")
            return [(application.owner, alias)]
        named = [(caller.user_id, alias)]
        if not owner_name and (caller.nickname, alias) not in self._catalog.applications:
            named += [
                (each.owner, alias)
                for each in self._catalog.applications.values()
                if each.alias == alias and each.auth_mode != wire.PRIVATE
            ]
        return named
