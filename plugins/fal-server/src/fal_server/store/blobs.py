"""
Blobs: contents of files, each stored once under its SHA-256.

A blob is written to a file of this machine and put into the store as a whole, so that no blob
is incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs

from fal_core.caches import new_file
from fal_server.arrivals.parts import Parts, TakenParts, is_of_part
from fal_server.arrivals.receiving import receive
from fal_server.errors import Invalid, NotFound, NotNow, TooLarge
from fal_server.state.file_stores import PIECE, Entry, FileStore, translated

P = ParamSpec("P")
T = TypeVar("T")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UPLOAD = re.compile(r"[0-9a-f]{48}")

#: The largest file, and the largest part of one, in bytes.
LARGEST_FILE = 5 << 30
LARGEST_PART = 256 << 20

#: The most parts of one file.
MOST_PARTS = 10_000

#: Seconds after which an incomplete upload is deleted.
_ABANDONED = 24 * 3600.0

#: The file that an upload has from its beginning to its end.
_BEGUN = "begun"


@attrs.frozen
class Blob:
    """A stored content."""

    digest: str
    size: int


@attrs.frozen
class Blobs:
    """
    The contents in a store of files, and the uploads in progress, each of an account.

    An upload is a folder with a file :data:`_BEGUN`, and its parts.
    """

    files: FileStore
    parts: Parts = attrs.field(
        default=attrs.Factory(lambda self: Parts(self.files), takes_self=True),
        init=False,
        repr=False,
        eq=False,
    )
    #: The ids of the uploads that are being completed by this process, and of those that
    #: are being cancelled.
    _completing: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)
    _cancelling: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)

    def name_of(self, digest: str) -> str:
        """
        Return the name of the file with a content.

        Raises:
            NotFound: *digest* is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise NotFound("There is no such content.")
        return f"contents/{digest[:2]}/{digest}"

    def path_of(self, digest: str) -> Path | None:
        """Return the path of a content. None where the store is not a folder."""
        return self.files.path_of(self.name_of(digest))

    def pieces(self, digest: str, size: int, *, start: int = 0) -> Iterator[bytes]:
        """Yield a content of *size* bytes, from *start* on, in a thread that may wait."""
        return self.files.pieces(self.name_of(digest), size, start=start)

    async def keep(
        self,
        chunks: AsyncIterator[bytes],
        *,
        largest: int = LARGEST_FILE,
        digest: str | None = None,
    ) -> Blob:
        """
        Store a content that comes in chunks.

        Raises:
            TooLarge: It is larger than *largest*.

            StorageFull: The disk is full.

            Invalid: Its digest is not the expected *digest*; it is not stored.
        """
        content = hashlib.sha256()
        with new_file(self.files.place_of("uploads/one")) as path:
            size = await receive(chunks, path, largest, content.update)
            blob = Blob(content.hexdigest(), size)
            return await asyncio.to_thread(self._put, path, blob, digest)

    async def begin(self, account_id: str) -> str:
        """Begin an upload in parts, and return its id."""
        id = _prefix_of(account_id) + secrets.token_hex(16)

        def mark() -> None:
            with new_file(self.files.place_of("uploads/begun")) as path:
                with translated():
                    Path(path).touch(0o600)
                self.files.put(path, f"uploads/{id}/{_BEGUN}", is_durable=False)

        await self._do(mark)
        return id

    async def add_part(
        self,
        account_id: str,
        id: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None = None,
    ) -> str:
        """
        Add or replace a part, and return its MD5.

        Arguments:
            size: The bytes that it will have, as far as they are known.

        Raises:
            NotFound: The account has no such upload.

            NotNow: It is being completed.

            TooLarge: The part is too large.
        """
        if not 1 <= number <= MOST_PARTS:
            raise Invalid(f"The number of a part is from 1 to {MOST_PARTS}.")
        check = functools.partial(self._check, account_id, id)
        await check()
        content = hashlib.md5(usedforsecurity=False)
        await self.parts.add(
            f"uploads/{id}",
            number,
            chunks,
            size=size,
            largest=LARGEST_PART,
            hash=content.update,
            # It may have been completed or cancelled meanwhile.
            check=check,
        )
        return content.hexdigest()

    @contextlib.asynccontextmanager
    async def completing(
        self,
        account_id: str,
        id: str,
        numbers: Sequence[int],
        *,
        suffix: str = "",
        digest: str | None = None,
    ) -> AsyncIterator[Blob]:
        """
        Join parts in the order of their *numbers*, store the content, and yield it: within
        the context the caller records whose it is. The upload is deleted then, unless an
        exception was raised.

        With a *suffix*, the digest is that of the content followed by the suffix: so
        clients distinguish files that differ in their mode.

        Raises:
            NotFound: The account has no such upload, or a part is missing.

            NotNow: It is being completed already.

            TooLarge: It is too large.

            Invalid: A part is named twice, or its digest is not the expected *digest*; it is
                not stored.
        """
        async with self.taking(account_id, id, numbers) as parts:
            # What is joined at once is not more than what the account has sent.
            if parts.size > LARGEST_FILE:
                raise TooLarge(f"A file has at most {LARGEST_FILE} bytes.")
            yield await asyncio.to_thread(self._adopt, parts, suffix, digest)

    @contextlib.asynccontextmanager
    async def taking(
        self, account_id: str, id: str, numbers: Sequence[int]
    ) -> AsyncIterator[TakenParts]:
        """
        Yield the parts with these *numbers*, in their order. The upload is deleted after the
        context, unless an exception was raised.

        Raises:
            NotFound: The account has no such upload, or a part is missing.

            NotNow: It is being completed already.

            Invalid: A part is named twice.
        """
        await self._check(account_id, id)
        if len(set(numbers)) != len(numbers):
            # What an account stores is counted as it is sent.
            raise Invalid("A part of the upload is named twice.")
        self._completing.add(id)
        try:
            folder = f"uploads/{id}"
            found = await asyncio.to_thread(self.parts.list, folder)
            if not numbers or not set(numbers) <= set(found):
                raise NotFound("A part of the upload is missing.")
            yield TakenParts(folder=folder, numbers=numbers, found=found)
            await asyncio.to_thread(self.files.remove_folder, f"uploads/{id}")
        finally:
            self._completing.discard(id)

    async def cancel(self, account_id: str, id: str) -> None:
        """
        Delete an upload and its parts.

        Raises:
            NotFound: The account has no such upload.

            NotNow: It is being completed.
        """
        await self._check(account_id, id)
        self._cancelling.add(id)
        try:
            # Nobody adds to it from now on. To delete many parts takes a while.
            await asyncio.to_thread(self.files.remove, f"uploads/{id}/{_BEGUN}")
            await asyncio.to_thread(self.files.remove_folder, f"uploads/{id}")
        finally:
            self._cancelling.discard(id)

    def count_begun(self, account_id: str) -> int:
        """Return how many uploads an account has begun, and neither completed nor cancelled."""
        return sum(each.name.endswith(f"/{_BEGUN}") for each in self._find(account_id))

    def measure_parts(self, account_id: str) -> Sequence[int]:
        """
        Return the sizes of all parts that an account has sent, in bytes. Those that arrive at
        this moment are not among them.
        """
        arriving = self.parts.writing()
        return [
            each.size
            for each in self._find(account_id)
            if is_of_part(each.name) and each.name not in arriving
        ]

    def _find(self, account_id: str) -> Iterator[Entry]:
        return self.files.find("uploads", _prefix_of(account_id))

    def drop_abandoned(self) -> None:
        """Delete the uploads that were not completed within a day after they were last added to."""
        touched: dict[str, float] = {}
        for each in self.files.find("uploads"):
            id = each.name.split("/")[1]
            touched[id] = max(touched.get(id, 0), each.modified)
        for id, modified in touched.items():
            if modified < time.time() - _ABANDONED and id not in self._completing:
                with contextlib.suppress(OSError):
                    self.files.remove(f"uploads/{id}/{_BEGUN}")
                    self.files.remove_folder(f"uploads/{id}")
                    if not _UPLOAD.fullmatch(id):
                        # What was being written when a server was killed.
                        self.files.remove(f"uploads/{id}")

    def find_old(self) -> Sequence[str]:
        """Return the digests of the contents that were stored more than a day ago."""
        before = time.time() - _ABANDONED
        old = (each.name for each in self.files.find("contents") if each.modified < before)
        digests = (name.rpartition("/")[2] for name in old)
        return [digest for digest in digests if _DIGEST.fullmatch(digest)]

    def drop(self, digest: str, *, unless_within: float = _ABANDONED) -> None:
        """Delete a content that nobody has, unless it was stored anew within some seconds."""
        self.files.remove_older(self.name_of(digest), time.time() - unless_within)

    async def _check(self, account_id: str, id: str) -> None:
        name = f"uploads/{id}/{_BEGUN}"
        is_own = _UPLOAD.fullmatch(id) and id.startswith(_prefix_of(account_id))
        is_there = is_own and await self._do(self.files.has, name)
        if not is_there or id in self._cancelling:
            raise NotFound("There is no such upload.")
        if id in self._completing:
            raise NotNow("The upload is being completed already.")

    async def _do(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what *work* returns, which takes no time where files are on this machine."""
        if self.files.is_shared:
            return await asyncio.to_thread(work, *arguments, **named)
        return work(*arguments, **named)

    def _adopt(self, parts: TakenParts, suffix: str = "", expected: str | None = None) -> Blob:
        """Make a file of *parts*, and store it under its digest."""
        digest = hashlib.sha256()
        with new_file(self.files.place_of("uploads/whole")) as whole:
            self.parts.make_file(parts, whole)
            with open(whole, "rb", 0) as file:
                while content := file.read(PIECE):
                    digest.update(content)
            digest.update(suffix.encode())
            return self._put(whole, Blob(digest.hexdigest(), parts.size), expected)

    def _put(self, path: str, blob: Blob, expected: str | None) -> Blob:
        """Put the file *path* in its place, as the content *blob*. Return that."""
        if expected not in {None, blob.digest}:
            raise Invalid("The content does not have the expected hash.")
        self.files.put(path, self.name_of(blob.digest))
        return blob


def _prefix_of(account_id: str) -> str:
    """Return how the ids of the uploads of an account begin."""
    return hashlib.sha256(account_id.encode()).hexdigest()[:16]
