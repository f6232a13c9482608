"""Uploads: the files of applications, and files that others may read."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from fal_server.errors import NotFound, TooLarge
from fal_server.specs.file_paths import safe_path
from fal_server.state.databases import Database, metadata
from fal_server.state.file_stores import translated
from fal_server.state.tasks import uninterrupted
from fal_server.state.upserts import put
from fal_server.store.blobs import Blob, Blobs

T = TypeVar("T")

#: Seconds within which a content that was stored is recorded as somebody's.
_RECORDED = 300.0

app_files = sa.Table(
    "app_files",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("hash", sa.String, primary_key=True),
    sa.Column("mode", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

stored_files = sa.Table(
    "stored_files",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("content_type", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
)


@attrs.frozen(kw_only=True)
class StoredFile:
    """
    A file that anybody who knows its id can read.

    Attributes:
        expires_at: When it is deleted. None where it stays.
    """

    id: str
    account_id: str
    digest: str
    name: str
    content_type: str
    size: int
    created_at: float
    expires_at: float | None = None


class AppFiles:
    """
    The files of applications, by the hashes of the clients: the SHA-256 of the content
    followed by the mode in decimal.

    An account has only the files that it has sent itself, even if another account has sent
    the same content.
    """

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def missing(self, account_id: str, hashes: Iterable[str]) -> Sequence[str]:
        """Return those of *hashes* that the account has not sent yet, in their order."""
        wanted = list(dict.fromkeys(hashes))
        found = await self._find(account_id, wanted)
        return [hash for hash in wanted if hash not in found]

    async def _find(
        self, account_id: str, hashes: Collection[str]
    ) -> Mapping[str, tuple[int, int]]:
        """Return the mode and the size of each of *hashes* that the account has sent."""
        wanted = list(hashes)

        def read(connection: sa.Connection) -> dict[str, tuple[int, int]]:
            found: dict[str, tuple[int, int]] = {}
            columns = (app_files.c.hash, app_files.c.mode, app_files.c.size)
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                chosen = (app_files.c.account_id == account_id) & app_files.c.hash.in_(some)
                for row in connection.execute(sa.select(*columns).where(chosen)):
                    found[row.hash] = (row.mode, row.size)
            return found

        return await self._database.read(read)

    @uninterrupted
    async def complete(
        self, account_id: str, hash: str, upload: str, parts: Sequence[int], *, mode: int
    ) -> Blob:
        """
        Store a file that was sent in parts, and delete the upload.

        Raises:
            Invalid: The content has another hash.

            NotFound: The account has no such upload, or a part is missing.

            NotNow: It is being completed already.
        """

        def write(connection: sa.Connection) -> None:
            row = {"account_id": account_id, "hash": hash, "mode": mode, "size": blob.size}
            put(connection, app_files, {**row, "created_at": time.time()})

        async with self._blobs.completing(
            account_id, upload, parts, suffix=str(mode), digest=hash
        ) as blob:
            await self._database.write(write)
            return blob

    async def place(
        self,
        account_id: str,
        files: Iterable[tuple[str, str]],
        folder: Path,
        *,
        largest: int | None = None,
        shares: bool = False,
    ) -> None:
        """
        Put *files*, which are pairs of a hash and a relative path, into *folder*.

        Arguments:
            largest: How many bytes they may have together.

            shares: Whether they are the stored contents themselves, which nobody may change,
                and no copies.

        Raises:
            Invalid: A path leads out of *folder*.

            NotFound: The account has not sent a file.

            TooLarge: They are larger than *largest*.

            StorageFull: The disk is full.
        """
        wanted = [(hash, safe_path(path)) for hash, path in files]
        found = await self._find(account_id, {hash for hash, _ in wanted})
        missing = next((hash for hash, _ in wanted if hash not in found), None)
        if missing is not None:
            raise NotFound(f"File {missing[:80]!r} was not uploaded.")
        size = sum(found[hash][1] for hash, _ in wanted)
        if largest is not None and size > largest:
            raise TooLarge(f"The files have {size} bytes together, and may have {largest}.")

        def put(each: tuple[str, PurePosixPath]) -> None:
            hash, path = each
            self._put(hash, folder / path, *found[hash], shares=shares)

        await asyncio.to_thread(_do_all, put, wanted, self._blobs.files.at_once)

    def _put(self, hash: str, target: Path, mode: int, size: int, *, shares: bool) -> None:
        """Copy a file, unless it is shared: an application may change its own."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        source = self._blobs.path_of(hash)
        permissions = stat.S_IMODE(mode) & 0o777 | stat.S_IRUSR
        with translated():
            target.parent.mkdir(parents=True, exist_ok=True)
            if shares and source is not None and _linked(source, target):
                # The hash stands for the mode too: every file with this content has this mode.
                target.chmod(permissions)
                return
            file = os.open(target, flags, 0o600)
            with os.fdopen(file, "wb") as stream:
                for piece in self._blobs.pieces(hash, size):
                    stream.write(piece)
                os.fchmod(stream.fileno(), permissions)


def _do_all(work: Callable[[T], None], items: Sequence[T], at_once: int) -> None:
    """Do *work* for all *items*, for so many of them at once."""
    if at_once == 1:
        for each in items:
            work(each)
        return
    with ThreadPoolExecutor(at_once, "files") as pool:
        for _ in pool.map(work, items):
            pass


def _linked(source: Path, target: Path) -> bool:
    """Make *target* another name of *source*, and return whether the file system does that."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        return False
    return True


class StoredFiles:
    """The files that anybody who knows their ids can read. Ids cannot be guessed."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def add(
        self,
        account_id: str,
        content: AsyncIterator[bytes] | Blob,
        *,
        id: str | None = None,
        name: str = "",
        content_type: str = "",
        seconds: float | None = None,
    ) -> StoredFile:
        """
        Store a file, for *seconds* unless that is None, and no shorter than before.

        Raises:
            TooLarge: It is too large.

            StorageFull: The disk is full.
        """
        blob = content if isinstance(content, Blob) else await self._blobs.keep(content)
        now = time.time()
        file = StoredFile(
            id=id or new_id(),
            account_id=account_id,
            digest=blob.digest,
            name=safe_name(name),
            content_type=content_type or "application/octet-stream",
            size=blob.size,
            created_at=now,
            expires_at=None if seconds is None else now + seconds,
        )

        def write(connection: sa.Connection) -> StoredFile:
            chosen = stored_files.c.id == file.id
            before = connection.execute(
                sa.select(stored_files.c.expires_at).where(chosen).with_for_update()
            ).first()
            kept = file
            if before is not None and file.expires_at is not None:
                expires_at = before.expires_at and max(before.expires_at, file.expires_at)
                kept = attrs.evolve(file, expires_at=expires_at)
            put(connection, stored_files, attrs.asdict(kept))
            return kept

        return await self._database.write(write)

    async def find(self, id: str) -> StoredFile:
        """
        Return a file.

        Raises:
            NotFound: There is no such file, or it has expired.
        """
        chosen = sa.select(stored_files).where(stored_files.c.id == id)

        def read(connection: sa.Connection) -> sa.Row[Any] | None:
            return connection.execute(chosen).one_or_none()

        row = await self._database.read(read)
        if row is None or (row.expires_at is not None and row.expires_at < time.time()):
            raise NotFound("There is no such file.")
        return StoredFile(**row._mapping)

    async def drop_expired(self) -> None:
        """Delete expired files, and contents that no file has any more."""

        def write(connection: sa.Connection) -> list[str]:
            now = time.time()
            stays = stored_files.c.expires_at.is_(None) | (stored_files.c.expires_at >= now)
            # Not as parameters, of which a statement has a limited number.
            used = sa.union(
                sa.select(stored_files.c.digest).where(stays), sa.select(app_files.c.hash)
            )
            chosen = sa.select(stored_files.c.digest).where(~stays)
            unused = chosen.where(stored_files.c.digest.not_in(used)).distinct()
            digests = list(connection.scalars(unused))
            connection.execute(stored_files.delete().where(~stays))
            return digests

        for digest in await self._database.write(write):
            # The same content may have been sent again just now, and not be recorded yet.
            await asyncio.to_thread(self._blobs.drop, digest, unless_within=_RECORDED)

    async def drop_unused(self) -> None:
        """
        Delete contents that no file has: what a server leaves that is killed after it has
        stored a content, and before it has recorded whose it is.
        """
        old = await asyncio.to_thread(self._blobs.find_old)
        for start in range(0, len(old), 500):
            some = old[start : start + 500]

            def read(connection: sa.Connection, some: Sequence[str] = some) -> set[str]:
                used = sa.union(
                    sa.select(stored_files.c.digest).where(stored_files.c.digest.in_(some)),
                    sa.select(app_files.c.hash).where(app_files.c.hash.in_(some)),
                )
                return set(connection.scalars(used))

            for digest in set(some) - await self._database.read(read):
                await asyncio.to_thread(self._blobs.drop, digest)


def new_id() -> str:
    """Return a new id that cannot be guessed."""
    return secrets.token_urlsafe(24)


def safe_name(name: str) -> str:
    """Return *name* as a file name that is safe at the end of a URL."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-+") else "_" for c in last)
    return kept[-200:].lstrip(".") or "file"
