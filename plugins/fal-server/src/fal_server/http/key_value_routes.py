"""The routes of the key-value store, as ``KVStore`` of the released toolkit asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import UPLOADS
from fal_server.errors import Invalid, Refusal, TooLarge
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import number_of
from fal_server.key_values.stored_values import LARGEST_VALUE, LONGEST, StoredValues
from fal_server.limits import write_size

Answer = Callable[[web.Request, Caller], Awaitable[web.Response]]


class KeyValueRoutes:
    """
    Answers the routes of the key-value store.

    Its clients show a token for uploads, so that its permission is that of uploads.
    """

    def __init__(self, values: StoredValues) -> None:
        self._values = values

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        needs, place = "storage:files:write", "{name}/{key:.+}"
        # The toolkit of released clients shows such a token here.
        for_it = frozenset({UPLOADS})
        return [
            ApiRoute("GET", f"/get/{place}", needs, _told(self._get), for_it),
            ApiRoute("PUT", f"/set/{place}", needs, _told(self._set), for_it),
            ApiRoute("DELETE", f"/delete/{place}", needs, _told(self._delete), for_it),
        ]

    async def _get(self, request: web.Request, caller: Caller) -> web.Response:
        value = await self._values.get(caller.user_id, *_place_of(request))
        return web.json_response({"value": value})

    async def _set(self, request: web.Request, caller: Caller) -> web.Response:
        seconds = number_of(request, "ttl", LONGEST, most=LONGEST)
        if (request.content_length or 0) > LARGEST_VALUE:
            raise TooLarge(f"A value has at most {write_size(LARGEST_VALUE)} bytes.")
        try:
            value = (await request.read()).decode()
        except UnicodeDecodeError:
            raise Invalid("A value must be text in UTF-8.") from None
        except web.HTTPRequestEntityTooLarge:
            largest = write_size(LARGEST_VALUE)
            raise TooLarge(f"A value has at most {largest} bytes.") from None
        await self._values.set(caller.user_id, *_place_of(request), value, seconds)
        return web.json_response({})

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        await self._values.delete(caller.user_id, *_place_of(request))
        return web.json_response({})


def _place_of(request: web.Request) -> tuple[str, str]:
    return request.match_info["name"], request.match_info["key"]


def _told(answer: Answer) -> Answer:
    """
    Return what answers like *answer*, with refusals as the toolkit reads them: under another
    name than everywhere else.
    """

    async def respond(request: web.Request, caller: Caller) -> web.Response:
        try:
            return await answer(request, caller)
        except Refusal as refusal:
            sentence = str(refusal)
            content = {"detail": sentence, "error": sentence}
            return web.json_response(content, status=refusal.http)

    return respond
