"""The routes with which a browser signs in and out."""

from __future__ import annotations

import json
from collections.abc import Iterable

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import LOGIN, CallerIdentity
from fal_server.access.sign_ins import make_link, open_link
from fal_server.errors import Forbidden
from fal_server.gateways.playgrounds import Playgrounds
from fal_server.http.api import ApiRoute, OpenRoute
from fal_server.http.bodies import read_object, text_of
from fal_server.listeners.urls import Urls
from fal_server.state.databases import Database
from fal_server.store.keys import SESSION_SECONDS, find_key


class SessionRoutes:
    """Answers the routes of sessions."""

    def __init__(
        self, database: Database, identity: CallerIdentity, playgrounds: Playgrounds, urls: Urls
    ) -> None:
        self._database = database
        self._identity = identity
        self._playgrounds = playgrounds
        self._urls = urls

    def routes(self) -> Iterable[ApiRoute | OpenRoute]:
        """Return the routes."""
        needs = "account:settings:read"
        return [
            OpenRoute("POST", "/dashboard/sessions", self._open),
            ApiRoute("POST", "/dashboard/links", "account:keys:write", self._link),
            ApiRoute("POST", "/dashboard/session", needs, self._begin),
            ApiRoute("GET", "/dashboard/session", needs, self._describe),
            ApiRoute("DELETE", "/dashboard/session", needs, self._end),
            ApiRoute("POST", "/dashboard/playground", "models:requests:submit", self._play),
        ]

    async def _open(self, request: web.Request) -> web.Response:
        """Exchange the code of a link for a token."""
        code = text_of(await read_object(request), "code", longest=300)
        key = await self._database.write(lambda connection: open_link(connection, code))
        return self._give_token(key.account_id, key.id)

    async def _link(self, _: web.Request, caller: Caller) -> web.Response:
        """
        Return the code of a link, whose session may do what the key may, and is a key too.

        Raises:
            Forbidden: It is a token, whose session would not end with it.
        """
        if caller.purpose:
            raise Forbidden("A token cannot make a link. Use a key.")
        code = await self._database.write(
            lambda connection: make_link(connection, caller.user_id, caller.permissions)
        )
        return web.json_response({"code": code}, headers={"Cache-Control": "no-store"})

    async def _begin(self, _: web.Request, caller: Caller) -> web.Response:
        """
        Exchange a key for a token, which ends with the key.

        Raises:
            Forbidden: It is a token already, which would never end so.
        """
        if caller.purpose:
            raise Forbidden("A token cannot begin a session. Sign in with a key.")
        return self._give_token(caller.user_id, caller.key_id)

    def _give_token(self, account_id: str, key_id: str) -> web.Response:
        token = self._identity.tokens.make(
            LOGIN, account_id, key=key_id, seconds=SESSION_SECONDS
        )
        return web.json_response({"token": token}, headers={"Cache-Control": "no-store"})

    async def _describe(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(
            {
                "account": caller.nickname,
                "permissions": sorted(caller.permissions),
                "run": self._urls.beside("run", "api", request.host),
            }
        )

    async def _end(self, _: web.Request, caller: Caller) -> web.Response:
        """Revoke the key of a session that a link has begun; other keys stay."""
        key = await self._database.read(lambda connection: find_key(connection, caller.key_id))
        if key is not None and key.is_session:
            await self._identity.revoke_key(caller.user_id, key.id)
        return web.json_response({})

    async def _play(self, request: web.Request, caller: Caller) -> web.Response:
        """Return the URL of the playground of an application, with which it opens signed in."""
        alias = text_of(await read_object(request), "application", longest=200)
        application = self._playgrounds.find(caller, alias)
        token = self._playgrounds.make_token(caller, application)
        base = self._urls.beside("run", "api", request.host)
        url = (
            f"{base}/{application.owner_name}/{application.alias}/playground#fal-token={token}"
        )
        return web.Response(
            body=json.dumps({"url": url}).encode(),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
