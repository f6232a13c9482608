"""
Blobs: contents of files, each stored once under its SHA-256.

A blob is written to a temporary file, synced and renamed, so that no blob is incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import attrs

from fal_core.caches import new_file
from fal_server.errors import Invalid, NotFound, NotNow, TooLarge
from fal_server.state.bodies import translated

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UPLOAD = re.compile(r"[0-9a-f]{48}")

#: The largest file, and the largest part of one, in bytes.
LARGEST_FILE = 5 << 30
LARGEST_PART = 256 << 20

#: The most parts of one file.
MOST_PARTS = 10_000

#: Seconds after which an incomplete upload is deleted.
_ABANDONED = 24 * 3600.0

_CHUNK = 1 << 20


@attrs.frozen
class Blob:
    """
    A stored content.
    """

    digest: str
    size: int


@attrs.frozen
class Blobs:
    """
    The contents in a folder, and the uploads in progress, each of an account.
    """

    folder: Path
    #: Held while a content is put in its place, or an old one is deleted.
    _lock: threading.Lock = attrs.field(
        factory=threading.Lock, init=False, repr=False, eq=False
    )
    #: The ids of the uploads that are being completed, in the process that has the folder.
    _completing: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "contents").mkdir(exist_ok=True, mode=0o700)

    @property
    def _uploads(self) -> Path:
        return self.folder / "uploads"

    def path_of(self, digest: str) -> Path:
        """
        Return the path of a content.

        Raises:
            NotFound: *digest* is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise NotFound("There is no such content.")
        return self.folder / "contents" / digest[:2] / digest

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
        with new_file(self._uploads / "one") as path:
            size = await _receive(chunks, path, largest, content.update)
            blob = Blob(content.hexdigest(), size)
            return await asyncio.to_thread(self._put, path, blob, digest)

    def begin(self, account_id: str) -> str:
        """
        Begin an upload in parts, and return its id.
        """
        id = _prefix_of(account_id) + secrets.token_hex(16)
        with translated():
            (self._uploads / id).mkdir(mode=0o700)
        return id

    async def add_part(
        self, account_id: str, id: str, number: int, chunks: AsyncIterator[bytes]
    ) -> str:
        """
        Add or replace a part, and return its MD5.

        Raises:
            NotFound: The account has no such upload.

            NotNow: It is being completed.

            TooLarge: The part is too large.
        """
        if not 1 <= number <= MOST_PARTS:
            raise Invalid(f"The number of a part is from 1 to {MOST_PARTS}.")
        part = self._folder_of(account_id, id) / str(number)
        content = hashlib.md5(usedforsecurity=False)
        with new_file(part) as path:
            await _receive(chunks, path, LARGEST_PART, content.update)
            # It may have been completed or cancelled meanwhile.
            self._folder_of(account_id, id)
            with translated():
                os.replace(path, part)
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
        folder = self._folder_of(account_id, id)
        if len(set(numbers)) != len(numbers):
            # What an account stores is counted as it is sent.
            raise Invalid("A part of the upload is named twice.")
        paths = [folder / str(number) for number in numbers if 1 <= number <= MOST_PARTS]
        if not numbers or len(paths) < len(numbers) or not all(map(Path.is_file, paths)):
            raise NotFound("A part of the upload is missing.")
        if sum(path.stat().st_size for path in paths) > LARGEST_FILE:
            raise TooLarge(f"A file has at most {LARGEST_FILE} bytes.")
        # What is joined at once is not more than what the account has sent.
        self._completing.add(id)
        try:
            yield await asyncio.to_thread(self._adopt, paths, suffix, digest)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        finally:
            self._completing.discard(id)

    async def cancel(self, account_id: str, id: str) -> None:
        """
        Delete an upload and its parts.

        Raises:
            NotFound: The account has no such upload.

            NotNow: It is being completed.
        """
        folder = self._folder_of(account_id, id)
        # Nobody adds to it from now on. To delete many parts takes a while.
        left = folder.rename(folder.with_suffix(".cancelled"))
        await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)

    def count_begun(self, account_id: str) -> int:
        """
        Return how many uploads an account has begun, and neither completed nor cancelled.
        """
        return len(self._begun(account_id))

    def measure_parts(self, account_id: str) -> Sequence[int]:
        """
        Return the sizes of all parts that an account has sent, in bytes.
        """
        sizes = []
        for folder in self._begun(account_id):
            # It may be completed, or cancelled, meanwhile.
            with contextlib.suppress(OSError), os.scandir(folder) as parts:
                sizes += [part.stat().st_size for part in parts if part.name.isdigit()]
        return sizes

    def _begun(self, account_id: str) -> Sequence[str]:
        prefix = _prefix_of(account_id)
        with os.scandir(self._uploads) as found:
            return [each.path for each in found if each.name.startswith(prefix)]

    def drop_abandoned(self) -> None:
        """
        Delete the uploads that were not completed within a day.
        """
        for path in self._uploads.iterdir():
            if self._is_old(path) and path.name not in self._completing:
                with contextlib.suppress(OSError):
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()

    def find_old(self) -> Sequence[str]:
        """
        Return the digests of the contents that were stored more than a day ago.
        """
        return [
            path.name
            for path in (self.folder / "contents").glob("*/*")
            if self._is_old(path) and _DIGEST.fullmatch(path.name)
        ]

    def drop_old(self, digest: str) -> None:
        """
        Delete a content that nobody has, unless it was stored anew within a day.
        """
        path = self.path_of(digest)
        with self._lock:
            if self._is_old(path):
                path.unlink(missing_ok=True)

    def _is_old(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return path.stat().st_mtime < time.time() - _ABANDONED
        return False

    def _folder_of(self, account_id: str, id: str) -> Path:
        folder = self._uploads / id
        is_own = _UPLOAD.fullmatch(id) and id.startswith(_prefix_of(account_id))
        if not is_own or not folder.is_dir():
            raise NotFound("There is no such upload.")
        if id in self._completing:
            raise NotNow("The upload is being completed already.")
        return folder

    def _adopt(
        self, parts: Sequence[Path], suffix: str = "", expected: str | None = None
    ) -> Blob:
        """
        Join *parts*, and store the whole under its digest.
        """
        digest, size = hashlib.sha256(), 0
        with new_file(self._uploads / "whole") as whole:
            with translated(), open(whole, "xb") as target:
                for part in parts:
                    with part.open("rb") as source:
                        while chunk := source.read(_CHUNK):
                            digest.update(chunk)
                            size += len(chunk)
                            target.write(chunk)
            digest.update(suffix.encode())
            return self._put(whole, Blob(digest.hexdigest(), size), expected)

    def _put(self, path: str, blob: Blob, expected: str | None) -> Blob:
        """
        Sync the file *path* and put it in its place, as the content *blob*. Return that.
        """
        if expected not in {None, blob.digest}:
            raise Invalid("The content does not have the expected hash.")
        final = self.path_of(blob.digest)
        with translated(), open(path, "rb+") as written:
            os.fsync(written.fileno())
        with translated(), self._lock:
            final.parent.mkdir(exist_ok=True, mode=0o700)
            os.replace(path, final)
        return blob


def _prefix_of(account_id: str) -> str:
    """
    Return how the ids of the uploads of an account begin.
    """
    return hashlib.sha256(account_id.encode()).hexdigest()[:16]


async def _receive(
    chunks: AsyncIterator[bytes], path: str, largest: int, hash: Callable[[bytes], None]
) -> int:
    """
    Write chunks to *path*, *hash* them, and return how many bytes they have.
    """
    size = 0
    with translated(), open(path, "xb") as target:
        async for chunk in chunks:
            size += len(chunk)
            if size > largest:
                raise TooLarge(f"At most {largest} bytes are accepted.")
            hash(chunk)
            await asyncio.to_thread(target.write, chunk)
    return size
