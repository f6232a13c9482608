"""
The routes for the files of accounts, which released clients use as ``fal files``,
``FalFileSystem`` and ``sync_dir``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import IO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from fal_server.access.callers import Caller
from fal_server.account_data.contents import AccountData
from fal_server.account_data.paths import write_path
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import read_object, text_of, to_text
from fal_server.http.forms import file_of, open_file, part_number_of, part_numbers_of
from fal_server.http.upload_routes import SAFE_HEADERS

#: Seconds between two looks whether a client waits for a file that is fetched.
_LOOK = 0.5

_READ, _WRITE = "storage:data:read", "storage:data:write"

#: Headers for files of an account: a browser shows them to no page of another origin.
_HEADERS = {
    name: value for name, value in SAFE_HEADERS.items() if name != "Access-Control-Allow-Origin"
}


class AccountDataRoutes:
    """
    Answers the routes for the files of accounts.

    Released clients put absolute paths behind a slash of their own, as in
    ``/files/list//data``.
    """

    def __init__(self, data: AccountData) -> None:
        self._data = data

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        file, parts = "/files/file/{path:.*}", "/files/file/multipart/{path:.*}"
        return [
            ApiRoute("GET", "/files/list/{path:.*}", _READ, self._list),
            ApiRoute("GET", file, _READ, self._get),
            ApiRoute("DELETE", file, _WRITE, self._remove),
            ApiRoute("POST", f"{parts}/initiate", _WRITE, self._begin),
            ApiRoute("PUT", f"{parts}/{{id}}/{{number}}", _WRITE, self._part),
            ApiRoute("POST", f"{parts}/{{id}}/complete", _WRITE, self._complete),
            ApiRoute("POST", f"{parts}/{{id}}/cancel", _WRITE, self._cancel),
            ApiRoute("POST", "/files/file/local/{path:.*}", _WRITE, self._put),
            ApiRoute("POST", "/files/file/url/{path:.*}", _WRITE, self._fetch),
            ApiRoute("POST", "/files/rename/{path:.*}", _WRITE, self._rename),
            ApiRoute("POST", "/files/dir/check_hash/{path:.*}", _READ, self._check_hash),
        ]

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._data.entries(caller.user_id, request.match_info["path"])
        return web.json_response(
            [
                {
                    "path": write_path(entry.parts),
                    "size": entry.size,
                    "is_file": entry.is_file,
                    "updated_time": to_text(entry.modified),
                    "created_time": to_text(entry.modified),
                }
                for entry in found
            ]
        )

    async def _get(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        file = await self._data.open(caller.user_id, request.match_info["path"])
        return _OpenedFile(file, {**_HEADERS, "Content-Type": "application/octet-stream"})

    async def _put(self, request: web.Request, caller: Caller) -> web.Response:
        unzips = request.query.get("unzip", "").lower() in {"true", "1"}
        put = self._data.unzip if unzips else self._data.put
        await put(caller.user_id, request.match_info["path"], file_of(request))
        return web.json_response(True)

    async def _fetch(self, request: web.Request, caller: Caller) -> web.Response:
        url = text_of(await read_object(request), "url")
        path = request.match_info["path"]
        fetching = asyncio.ensure_future(self._data.fetch(caller.user_id, path, url))
        try:
            while not (await asyncio.wait({fetching}, timeout=_LOOK))[0]:
                if request.transport is None or request.transport.is_closing():
                    raise ConnectionError("Nobody waits for the file.")
            await fetching
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        return web.json_response(True)

    async def _remove(self, request: web.Request, caller: Caller) -> web.Response:
        await self._data.remove(caller.user_id, request.match_info["path"])
        return web.json_response(True)

    async def _rename(self, request: web.Request, caller: Caller) -> web.Response:
        other = text_of(await read_object(request), "destination")
        await self._data.rename(caller.user_id, request.match_info["path"], other)
        return web.json_response(True)

    async def _check_hash(self, request: web.Request, caller: Caller) -> web.Response:
        hash = text_of(await read_object(request), "hash")
        path = request.match_info["path"]
        return web.json_response(await self._data.has_hash(caller.user_id, path, hash))

    async def _begin(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response({"upload_id": await self._data.uploads.begin(caller.user_id)})

    async def _part(self, request: web.Request, caller: Caller) -> web.Response:
        number = part_number_of(request)
        sent = await open_file(request)
        chunks = self._data.uploads.admit(caller.user_id, sent.chunks)
        tag = await self._data.blobs.add_part(
            caller.user_id, request.match_info["id"], number, chunks, size=sent.size
        )
        return web.json_response({"part_number": number, "etag": tag})

    async def _complete(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Put a file in its place. The tag is empty, as clients compare it with the MD5 of the
        whole file, which is not known: that of each part was told.
        """
        numbers = part_numbers_of(await read_object(request), "part_number")
        path, upload = request.match_info["path"], request.match_info["id"]
        await self._data.complete(caller.user_id, path, upload, numbers)
        return web.json_response({"etag": ""})

    async def _cancel(self, request: web.Request, caller: Caller) -> web.Response:
        await self._data.blobs.cancel(caller.user_id, request.match_info["id"])
        return web.json_response({})


class _OpenedFile(web.FileResponse):
    """
    Sends a file that is open already, without reading it into this process.

    It is not opened by its path again, at which there may be a link by now.
    """

    def __init__(self, file: IO[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(f"/dev/fd/{file.fileno()}", headers=headers)
        self._file = file

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it, and close it."""
        with self._file:
            return await super().prepare(request)
