"""The routes to upload and download files."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import UPLOADS, CallerIdentity
from fal_server.errors import AlreadyExists, Invalid, NotFound
from fal_server.http.api import ApiRoute, OpenRoute
from fal_server.http.bodies import read_object, text_of
from fal_server.http.forms import CHUNK, open_file, part_number_of, part_numbers_of
from fal_server.listeners.http_connections import recognise
from fal_server.listeners.urls import Urls
from fal_server.state.tasks import uninterrupted
from fal_server.store.blobs import Blobs
from fal_server.store.storage_shares import StorageShares
from fal_server.store.uploads import AppFiles, StoredFiles, new_id, safe_name

_HASH = re.compile(r"[0-9a-f]{64}")

#: The most hashes in one request.
_MOST_HASHES = 100_000

#: The purpose of tokens in upload URLs, and the seconds that they are valid.
_UPLOAD = "upload"
_SECONDS = 24 * 3600.0

#: The header in which a client announces the SHA-256 of the content that it will send.
DIGEST_HEADER = "X-Fal-Core-Digest"

#: Headers for files that users uploaded: a browser may show them, but run nothing in them.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
}


class AppFileRoutes:
    """Answers the routes to upload the files of applications."""

    def __init__(self, files: AppFiles, blobs: Blobs, shares: StorageShares) -> None:
        self._files = files
        self._blobs = blobs
        self._shares = shares

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
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
        number = part_number_of(request)
        id = request.match_info["id"]
        sent = await open_file(request)
        chunks = self._shares.admit(caller.user_id, sent.chunks)
        tag = await self._blobs.add_part(caller.user_id, id, number, chunks, size=sent.size)
        return web.json_response({"part_number": number, "etag": tag})

    async def _complete(self, request: web.Request, caller: Caller) -> web.Response:
        hash, id = _hash_of(request), request.match_info["id"]
        content = await read_object(request)
        metadata = content.get("metadata")
        mode = metadata.get("mode") if isinstance(metadata, dict) else None
        if not re.fullmatch(r"[0-9]{1,9}", str(mode)):
            raise Invalid("'metadata' must contain the 'mode' of the file, in decimal.")
        parts = part_numbers_of(content, "part_number")
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
        """Return the routes."""
        needs, upload = "storage:files:write", "/storage/uploads/{token}"
        initiate, file = "/storage/upload/initiate", "/storage/files/{id}/{name}"
        for_it = frozenset({UPLOADS})
        return [
            ApiRoute("POST", initiate, needs, self._begin, for_it),
            ApiRoute("POST", f"{initiate}-multipart", needs, self._begin_parts, for_it),
            ApiRoute("POST", "/files/upload", needs, self._upload, for_it),
            ApiRoute("POST", "/files/upload/multipart", needs, self._begin_own_parts, for_it),
            OpenRoute("PUT", upload, self._put),
            OpenRoute("POST", f"{upload}/complete", self._complete),
            OpenRoute("POST", f"{upload}/{{number}}", self._part_url),
            OpenRoute("PUT", f"{upload}/{{number}}", self._part),
            OpenRoute("GET", file, self._get),
            # Released clients add these to the URL of the file that they send.
            OpenRoute("PUT", f"{file}/multipart/{{token}}/{{number}}", self._part),
            OpenRoute("POST", f"{file}/multipart/{{token}}/complete", self._complete),
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
        word = self._identity.tokens.word
        id = new_id() if digest is None else word(caller.user_id, digest, name)
        claims = {"id": id, "name": name, "type": kind, "upload": upload, "digest": digest}
        token = self._make_token(request, caller, claims)
        base = self._urls.api_base(request.host)
        return web.json_response(
            {
                "file_url": self._url_of(request, id, name, caller),
                "upload_url": f"{base}/storage/uploads/{token}",
            }
        )

    async def _begin_own_parts(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Return the URL of a file that is sent in parts, and what stands for the upload in the
        URLs of the parts.
        """
        upload = await self._shares.begin(caller.user_id)
        name, kind = safe_name(request.headers.get("X-Fal-File-Name", "")), _type_of(request)
        claims = {"id": new_id(), "name": name, "type": kind, "upload": upload, "digest": None}
        token = self._make_token(request, caller, claims)
        url = self._url_of(request, str(claims["id"]), name)
        return web.json_response({"access_url": url, "uploadId": token})

    def _make_token(
        self, request: web.Request, caller: Caller, claims: Mapping[str, Any]
    ) -> str:
        """Return the token that stands for the upload of a file."""
        lives, key = _lifetime(request), caller.key_id
        make = self._identity.tokens.make
        return make(_UPLOAD, caller.user_id, key=key, seconds=_SECONDS, lives=lives, **claims)

    def _url_of(
        self, request: web.Request, id: str, name: str, caller: Caller | None = None
    ) -> str:
        """
        Return the URL of a file that *request* sends.

        Arguments:
            caller: Who gets the URL to hand it on. For a runner, it names the server as the
                client that launched the runner does, and not by its address for runners. None
                where the file is sent to that same URL.
        """
        named = self._identity.runner_keys.server_host(caller.key_id) if caller else ""
        base = self._urls.file_base(named or request.host)
        return f"{base}/storage/files/{id}/{quote(name)}"

    async def _upload(self, request: web.Request, caller: Caller) -> web.Response:
        """Store a file that is sent in one request, and return its URL."""
        file = await self._files.add(
            caller.user_id,
            self._chunks(caller.user_id, request),
            name=request.headers.get("X-Fal-File-Name", ""),
            content_type=_type_of(request),
            seconds=_lifetime(request),
        )
        url = self._url_of(request, file.id, file.name, caller)
        return web.json_response({"access_url": url})

    async def _put(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        if claims["upload"] is not None:
            raise Invalid("This upload must be sent in parts.")
        chunks = self._chunks(claims["sub"], request)
        await self._add(claims, await self._blobs.keep(chunks, digest=claims.get("digest")))
        return web.json_response({})

    async def _part_url(self, request: web.Request) -> web.Response:
        """Return the URL to upload a part to, which is the URL of the request."""
        await self._claims(request)
        part_number_of(request)
        return web.json_response(
            {"upload_url": f"{self._urls.api_base(request.host)}{request.path}"}
        )

    async def _part(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        upload = self._upload_of(claims)
        number = part_number_of(request)
        chunks = self._chunks(claims["sub"], request)
        size = request.content_length
        tag = await self._blobs.add_part(claims["sub"], upload, number, chunks, size=size)
        answer = {"part_number": number, "etag": tag}
        return web.json_response(answer, headers={"ETag": f'"{tag}"'})

    async def _complete(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        upload = self._upload_of(claims)
        parts = part_numbers_of(await read_object(request), "part_number", "partNumber")
        await self._keep(claims, upload, parts)
        return web.json_response({})

    # What is under way in a thread goes on: the upload stays locked until it has ended.
    @uninterrupted
    async def _keep(self, claims: Mapping[str, Any], upload: str, parts: Sequence[int]) -> None:
        async with self._blobs.completing(claims["sub"], upload, parts) as blob:
            await self._add(claims, blob)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        file = await self._files.find(request.match_info["id"])
        kind = file.content_type if re.fullmatch(r"[\x20-\x7e]+", file.content_type) else ""
        headers = {**SAFE_HEADERS, "Content-Type": kind or "application/octet-stream"}
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
        """Return the body of a request, as far as the account has room for it."""
        return self._shares.admit(account_id, request.content.iter_chunked(CHUNK))

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


def _type_of(request: web.Request) -> str:
    return request.headers.get("Content-Type", "")[:200]


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


class Pieces(Protocol):
    """Yields the bytes of a file, from *start* on."""

    def __call__(self, *, start: int) -> Iterator[bytes]: ...


async def relay(
    request: web.Request, headers: Mapping[str, str], size: int, pieces: Pieces
) -> web.StreamResponse:
    """
    Answer a request for a file of *size* bytes, or for a range of them.

    Raises:
        NotFound: The file is gone.

        StateUnavailable: It cannot be read at present.
    """
    start, end, status = _range_of(request, size)
    if status == 416:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    response = web.StreamResponse(status=status, headers=headers)
    response.headers["Accept-Ranges"] = "bytes"
    response.content_length = left = end - start
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    found = pieces(start=start)
    try:
        # As long as nothing is sent, the client can be told what is wrong.
        piece = await asyncio.to_thread(next, found, b"") if left else b""
    except FileNotFoundError:
        raise NotFound("There is no such file.") from None
    await response.prepare(request)
    while piece:
        await response.write(piece[:left])
        left -= len(piece)
        piece = await asyncio.to_thread(next, found, b"") if left > 0 else b""
    await response.write_eof()
    return response


def _range_of(request: web.Request, size: int) -> tuple[int, int, int]:
    """
    Return the first byte that is asked for, the one after the last, and the status of the
    response. What cannot be read asks for all of it, and so does a condition.
    """
    try:
        asked = request.http_range
    except ValueError:
        return 0, size, 416
    if (asked.start is None and asked.stop is None) or "If-Range" in request.headers:
        return 0, size, 200
    start, end, _ = asked.indices(size)
    return (start, end, 206) if start < end else (0, size, 416)
