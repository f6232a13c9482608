"""
The routes for tokens: what a key gives to whom may not have the key itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import REQUESTS, UPLOADS
from fal_server.access.tokens import Tokens
from fal_server.errors import Forbidden, Invalid
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import read_object, to_text
from fal_server.listeners.urls import Urls

#: Seconds that a token is valid for where nothing is said, and at most.
_SECONDS, _MOST_SECONDS = 120.0, 24 * 3600.0

#: The same for one to upload with.
_UPLOAD_SECONDS = 3600.0

#: How many applications one token names at most.
_MANY = 32


class TokenRoutes:
    """
    Answers the routes that make tokens, with which applications are called, or files
    uploaded, for a while.
    """

    def __init__(self, tokens: Tokens, urls: Urls) -> None:
        self._tokens = tokens
        self._urls = urls

    def routes(self) -> Iterable[ApiRoute]:
        """
        Return what is answered.
        """
        upload = "/storage/auth/token"
        return [
            ApiRoute("POST", "/tokens/", "models:requests:submit", self._for_requests),
            ApiRoute("POST", upload, "storage:files:write", self._for_uploads),
        ]

    async def _for_uploads(self, request: web.Request, caller: Caller) -> web.Response:
        _check(caller)
        token = self._tokens.make(UPLOADS, caller.user_id, seconds=_UPLOAD_SECONDS)
        return web.json_response(
            {
                "token": token,
                "token_type": "Bearer",
                "base_url": self._urls.api_base(request.host),
                "expires_at": to_text(time.time() + _UPLOAD_SECONDS),
            }
        )

    async def _for_requests(self, request: web.Request, caller: Caller) -> web.Response:
        _check(caller)
        content = await read_object(request)
        names = content.get("allowed_apps")
        if (
            not isinstance(names, list)
            or not 0 < len(names) <= _MANY
            or not all(isinstance(name, str) and len(name) <= 80 for name in names)
        ):
            raise Invalid(f"'allowed_apps' must be a list of one to {_MANY} short names.")
        seconds = content.get("token_expiration", _SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise Invalid("'token_expiration' must be a number of seconds.")
        if not 0 < seconds <= _MOST_SECONDS:
            raise Invalid(f"A token is valid for {_MOST_SECONDS:.0f} seconds at most.")
        token = self._tokens.make(REQUESTS, caller.user_id, seconds=seconds, apps=names)
        return web.json_response(token)


def _check(caller: Caller) -> None:
    if caller.applications is not None:
        raise Forbidden("A token makes no other tokens.")
