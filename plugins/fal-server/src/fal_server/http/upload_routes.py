"""
The routes to upload and download files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.errors import AlreadyExists, Invalid
from fal_server.http.api import ApiRoute, OpenRoute
from fal_server.http.bodies import read_object, text_of
from fal_server.http.file_relays import relay
from fal_server.listeners.http_connections import recognise
from fal_server.listeners.urls import Urls
from fal_server.store.blobs import Blobs
from fal_server.store.storage_shares import StorageShares
from fal_server.store.uploads import AppFiles, StoredFiles, new_id, safe_name

_HASH = re.compile(r"[0-9a-f]{64}")

#: The most hashes in one request.
_MOST_HASHES = 100_000

#: The purpose of tokens in upload URLs, and the seconds that they are valid.
_UPLOAD = "upload"
_SECONDS = 24 * 3600.0

_CHUNK = 1 << 18

#: The header in which a client announces the SHA-256 of the content that it will send.
DIGEST_HEADER = "X-Fal-Core-Digest"

#: Headers for files that users uploaded: a browser may show them, but run nothing in them.
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
}


class AppFileRoutes:
    """
    Answers the routes to upload the files of applications.
    """

    def __init__(self, files: AppFiles, blobs: Blobs, shares: StorageShares) -> None:
        self._files = files
        self._blobs = blobs
        self._shares = shares

    def routes(self) -> Iterable[ApiRoute]:
        """
        Return the routes.
        """
        path, needs = "/files/app/multipart/{hash}", "storage:files:write"
        return [
            ApiRoute("POST", "/files/missing_hashes", needs, self._missing),
            ApiRoute("POST", f"{path}/initiate", needs, self._begin),
            ApiRoute("PUT", f"{path}/{{id}}/{{number}}", needs, self._part),
            ApiRoute("POST", f"{path}/{{id}}/complete", needs, self._complete),
            ApiRoute("POST", f"{path}/{{id}}/cancel", needs, self._cancel),
        ]

    async def _missing(self, request: web.Request, caller: Caller) -> web.Response:
        hashes = (await read_object(request)).get("hashes")
        if (
            not isinstance(hashes, list)
            or len(hashes) > _MOST_HASHES
            or not all(isinstance(hash, str) and _HASH.fullmatch(hash) for hash in hashes)
        ):
            raise Invalid("'hashes' must be a list of hashes, each of 64 hexadecimal digits.")
        return web.json_response(await self._files.missing(caller.user_id, hashes))

    async def _begin(self, request: web.Request, caller: Caller) -> web.Response:
        hash = _hash_of(request)
        if not await self._files.missing(caller.user_id, [hash]):
            raise AlreadyExists("This file was uploaded already.")
        return web.json_response({"upload_id": await self._shares.begin(caller.user_id)})

    async def _part(self, request: web.Request, caller: Caller) -> web.Response:
        _hash_of(request)
        number = _number_of(request)
        id = request.match_info["id"]
        chunks = self._shares.admit(caller.user_id, _file_of(request))
        tag = await self._blobs.add_part(caller.user_id, id, number, chunks)
        return web.json_response({"part_number": number, "etag": tag})

    async def _complete(self, request: web.Request, caller: Caller) -> web.Response:
        hash, id = _hash_of(request), request.match_info["id"]
        content = await read_object(request)
        metadata = content.get("metadata")
        mode = metadata.get("mode") if isinstance(metadata, dict) else None
        if not re.fullmatch(r"[0-9]{1,9}", str(mode)):
            raise Invalid("'metadata' must contain the 'mode' of the file, in decimal.")
        parts = _parts_of(content, "part_number")
        await self._files.complete(caller.user_id, hash, id, parts, mode=int(str(mode)))
        return web.json_response({"etag": hash})

    async def _cancel(self, request: web.Request, caller: Caller) -> web.Response:
        _hash_of(request)
        await self._blobs.cancel(caller.user_id, request.match_info["id"])
        return web.json_response({})


class StorageRoutes:
    """
    Answers the routes to upload files that anybody who knows their URL can read.

    An upload URL has a token in its path, and needs no other credentials.
    """

    def __init__(
        self,
        files: StoredFiles,
        blobs: Blobs,
        shares: StorageShares,
        identity: CallerIdentity,
        urls: Urls,
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._shares = shares
        self._identity = identity
        self._urls = urls

    def routes(self) -> Iterable[ApiRoute | OpenRoute]:
        """
        Return the routes.
        """
        needs, upload = "storage:files:write", "/storage/uploads/{token}"
        initiate = "/storage/upload/initiate"
        return [
            ApiRoute("POST", initiate, needs, self._begin),
            ApiRoute("POST", f"{initiate}-multipart", needs, self._begin_parts),
            ApiRoute("POST", "/files/upload", needs, self._upload),
            OpenRoute("PUT", upload, self._put),
            OpenRoute("POST", f"{upload}/complete", self._complete),
            OpenRoute("POST", f"{upload}/{{number}}", self._part_url),
            OpenRoute("PUT", f"{upload}/{{number}}", self._part),
            OpenRoute("GET", "/storage/files/{id}/{name}", self._get),
        ]

    async def _begin(self, request: web.Request, caller: Caller) -> web.Response:
        return await self._initiate(request, caller, upload=None)

    async def _begin_parts(self, request: web.Request, caller: Caller) -> web.Response:
        upload = await self._shares.begin(caller.user_id)
        return await self._initiate(request, caller, upload=upload)

    async def _initiate(
        self, request: web.Request, caller: Caller, *, upload: str | None
    ) -> web.Response:
        """
        Return the URL to upload a file to, and the URL to read it from.

        If the client announces a digest, the same content with the same name has the same
        URL for an account each time, so that results can be cached by URL.
        """
        content = await read_object(request)
        name = safe_name(text_of({"file_name": "", **content}, "file_name", longest=1024))
        kind = text_of({"content_type": "", **content}, "content_type", longest=200)
        digest = request.headers.get(DIGEST_HEADER) if upload is None else None
        if digest is not None and not _HASH.fullmatch(digest):
            raise Invalid(f"{DIGEST_HEADER} must be 64 hexadecimal digits.")
        tokens = self._identity.tokens
        id = new_id() if digest is None else tokens.word(caller.user_id, digest, name)
        token = tokens.make(
            _UPLOAD,
            caller.user_id,
            key=caller.key_id,
            seconds=_SECONDS,
            id=id,
            name=name,
            type=kind,
            upload=upload,
            digest=digest,
            lives=_lifetime(request),
        )
        base, files = self._urls.api_base(request.host), self._urls.file_base(request.host)
        return web.json_response(
            {
                "file_url": f"{files}/storage/files/{id}/{quote(name)}",
                "upload_url": f"{base}/storage/uploads/{token}",
            }
        )

    async def _upload(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Store a file that is sent in one request, and return its URL.
        """
        file = await self._files.add(
            caller.user_id,
            self._chunks(caller.user_id, request),
            name=request.headers.get("X-Fal-File-Name", ""),
            content_type=request.headers.get("Content-Type", "")[:200],
            seconds=_lifetime(request),
        )
        base = self._urls.file_base(request.host)
        url = f"{base}/storage/files/{file.id}/{quote(file.name)}"
        return web.json_response({"access_url": url})

    async def _put(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        if claims["upload"] is not None:
            raise Invalid("This upload must be sent in parts.")
        chunks = self._chunks(claims["sub"], request)
        await self._add(claims, await self._blobs.keep(chunks, digest=claims.get("digest")))
        return web.json_response({})

    async def _part_url(self, request: web.Request) -> web.Response:
        """
        Return the URL to upload a part to, which is the URL of the request.
        """
        await self._claims(request)
        _number_of(request)
        return web.json_response(
            {"upload_url": f"{self._urls.api_base(request.host)}{request.path}"}
        )

    async def _part(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        upload = self._upload_of(claims)
        number = _number_of(request)
        chunks = self._chunks(claims["sub"], request)
        tag = await self._blobs.add_part(claims["sub"], upload, number, chunks)
        answer = {"part_number": number, "etag": tag}
        return web.json_response(answer, headers={"ETag": f'"{tag}"'})

    async def _complete(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        upload = self._upload_of(claims)
        parts = _parts_of(await read_object(request), "part_number", "partNumber")
        async with self._blobs.completing(claims["sub"], upload, parts) as blob:
            await self._add(claims, blob)
        return web.json_response({})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        file = await self._files.find(request.match_info["id"])
        kind = file.content_type if re.fullmatch(r"[\x20-\x7e]+", file.content_type) else ""
        headers = {**_SAFE_HEADERS, "Content-Type": kind or "application/octet-stream"}
        path = self._blobs.path_of(file.digest)
        if path is not None:
            return web.FileResponse(path, headers=headers)
        pieces = functools.partial(self._blobs.pieces, file.digest, file.size)
        return await relay(request, headers, file.size, pieces)

    async def _add(self, claims: Mapping[str, Any], content: Any) -> None:
        await self._files.add(
            claims["sub"],
            content,
            id=claims["id"],
            name=claims["name"],
            content_type=claims["type"],
            seconds=claims["lives"],
        )

    def _chunks(self, account_id: str, request: web.Request) -> AsyncIterator[bytes]:
        """
        Return the body of a request, as far as the account has room for it.
        """
        return self._shares.admit(account_id, request.content.iter_chunked(_CHUNK))

    async def _claims(self, request: web.Request) -> Mapping[str, Any]:
        claims = await self._identity.open_token(_UPLOAD, request.match_info["token"])
        recognise(request)
        return claims

    def _upload_of(self, claims: Mapping[str, Any]) -> str:
        if claims["upload"] is None:
            raise Invalid("This upload cannot be sent in parts.")
        return str(claims["upload"])


def _hash_of(request: web.Request) -> str:
    hash = request.match_info["hash"]
    if not _HASH.fullmatch(hash):
        raise Invalid("A hash must be 64 hexadecimal digits.")
    return hash


def _number_of(request: web.Request) -> int:
    text = request.match_info["number"]
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise Invalid("The number of a part must be one to five decimal digits.")
    return int(text)


def _parts_of(content: Mapping[str, Any], *names: str) -> Sequence[int]:
    """
    Return the numbers of the parts in *content*, in the order given.

    Arguments:
        names: The names that clients use for the number.
    """
    parts = content.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Invalid("'parts' must be a list of objects.")
    numbers = [next((part[name] for name in names if name in part), None) for part in parts]
    if not all(type(number) is int for number in numbers):
        raise Invalid(f"Each part must have a {names[0]!r}.")
    return [int(number) for number in numbers if number is not None]


async def _file_of(request: web.Request) -> AsyncIterator[bytes]:
    """
    Yield the content of the field ``file_upload`` of a form, in chunks.
    """
    if not request.content_type.startswith("multipart/"):
        raise Invalid("A part must be sent as a multipart form.")
    try:
        reader = await request.multipart()
        while (field := await reader.next()) is not None:
            if isinstance(field, BodyPartReader) and field.name == "file_upload":
                while chunk := await field.read_chunk(_CHUNK):
                    yield bytes(chunk)
                return
    except (ValueError, AssertionError) as error:
        raise Invalid("The form cannot be read.") from error
    raise Invalid("The form has no field 'file_upload'.")


def _lifetime(request: web.Request) -> float | None:
    """
    Return the seconds for which the client wants a file to be kept, or None for ever. An
    invalid header is ignored.
    """
    for name in ("X-Fal-Object-Lifecycle", "X-Fal-Object-Lifecycle-Preference"):
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            seconds = json.loads(request.headers.get(name, "")).get(
                "expiration_duration_seconds"
            )
            if seconds is not None and 0 < float(seconds) < 1e10:
                return float(seconds)
    return None
