"""
Contents: what clients read and write in the directory of their account.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import attrs

from fal_core.caches import new_file
from fal_server.account_data.archives import check_index, check_members
from fal_server.account_data.fetches import Fetcher
from fal_server.account_data.paths import read_path
from fal_server.account_data.shares import DataShares
from fal_server.account_data.trees import Tree, TreeEntry
from fal_server.arrivals.receiving import receive, write_all
from fal_server.errors import Invalid, NotFound, TooLarge
from fal_server.limits import Limits, option_of
from fal_server.state.databases import Database
from fal_server.state.file_stores import translated
from fal_server.state.tasks import uninterrupted
from fal_server.store.blobs import LARGEST_FILE, Blobs
from fal_server.store.storage_shares import StorageShares

#: Seconds after which what a server that was killed was receiving is removed.
_LEFT = 3600.0

#: The file by which a client knows that a directory is what it has sent.
_HASH, _LONGEST_HASH = ".fal_hash", 200

#: How many bytes are copied at once.
_PIECE = 8 << 20


@attrs.define(eq=False)
class AccountData:
    """
    The directories of accounts.

    Attributes:
        folder: The parent of the directories.

        uploads: What accounts send in parts, before it is put in place.
    """

    folder: Path
    blobs: Blobs
    uploads: StorageShares
    shares: DataShares
    fetcher: Fetcher
    limits: Limits

    @classmethod
    def create(
        cls,
        folder: Path,
        database: Database,
        blobs: Blobs,
        uploads: StorageShares,
        fetcher: Fetcher,
        limits: Limits,
    ) -> AccountData:
        """
        Open the directories in *folder*.
        """

        find = functools.partial(_tree_in, folder)
        shares = DataShares(database, blobs, limits, tree_of=find)
        return cls(folder, blobs, uploads, shares, fetcher, limits)

    def tree_of(self, account_id: str) -> Tree:
        """
        Return the files of an account.
        """
        return _tree_in(self.folder, account_id)

    def drop_left(self) -> None:
        """
        Remove what a server that was killed was receiving.
        """
        with contextlib.suppress(FileNotFoundError), os.scandir(self._arriving) as found:
            for each in found:
                if each.stat(follow_symlinks=False).st_mtime < time.time() - _LEFT:
                    os.unlink(each)

    async def entries(self, account_id: str, path: str) -> Sequence[TreeEntry]:
        """
        Return what is in a directory, or a file itself; nothing where neither is there.
        """
        return await asyncio.to_thread(self.tree_of(account_id).entries, read_path(path))

    async def open(self, account_id: str, path: str) -> IO[bytes]:
        """
        Open a file for reading.
        """
        return await asyncio.to_thread(self.tree_of(account_id).open, read_path(path))

    async def put(self, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """
        Put a file in its place once all of its *chunks* have come.
        """
        parts = _file_path(path)
        with self._new_file() as new:
            await self._receive(account_id, chunks, new)
            await asyncio.to_thread(self.tree_of(account_id).put, new, parts)

    async def unzip(self, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """
        Put the files of a zip archive into a directory.
        """
        parts = read_path(path)
        with self._new_file() as new:
            await self._receive(account_id, chunks, new)
            members = await asyncio.to_thread(self._read_archive, new)
            size = sum(each.file_size for each, _ in members)
            async with self.shares.holding(account_id, files=len(members), size=size):
                work = (new, self.tree_of(account_id), parts, members)
                await asyncio.to_thread(self._extract, *work)

    @uninterrupted
    async def complete(
        self, account_id: str, path: str, upload: str, numbers: Sequence[int]
    ) -> None:
        """
        Put a file in its place that was sent in parts.
        """
        parts = _file_path(path)
        async with (
            self.blobs.taking(account_id, upload, numbers) as taken,
            self.shares.holding(account_id, files=1, size=taken.size),
        ):
            with self._new_file() as new:
                await asyncio.to_thread(self.blobs.parts.make_file, taken, new)
                await asyncio.to_thread(self.tree_of(account_id).put, new, parts)

    async def fetch(self, account_id: str, path: str, url: str) -> None:
        """
        Put a file in its place that is at a URL.
        """
        async with self.fetcher.fetch(account_id, url) as chunks:
            await self.put(account_id, path, chunks)

    async def remove(self, account_id: str, path: str) -> None:
        """
        Remove a file, or a directory with everything in it.
        """
        await asyncio.to_thread(self.tree_of(account_id).remove, read_path(path))

    async def rename(self, account_id: str, path: str, other: str) -> None:
        """
        Give a file or a directory another path.
        """
        tree = self.tree_of(account_id)
        await asyncio.to_thread(tree.rename, read_path(path), read_path(other))

    async def has_hash(self, account_id: str, path: str, hash: str) -> bool:
        """
        Return whether a directory was sent whole by a client that knew it by *hash*.
        """

        def read() -> str:
            with self.tree_of(account_id).open((*read_path(path), _HASH)) as file:
                return file.read(_LONGEST_HASH).decode(errors="replace").strip()

        try:
            return await asyncio.to_thread(read) == hash
        except (NotFound, Invalid):
            return False

    # -- what arrives ------------------------------------------------------------------

    @property
    def _arriving(self) -> Path:
        # No account has this name. Runners do not see it.
        return self.folder / ".arriving"

    @contextlib.contextmanager
    def _new_file(self) -> Iterator[str]:
        with translated():
            self._arriving.mkdir(parents=True, mode=0o700, exist_ok=True)
        with new_file(self._arriving / "file") as new:
            yield new

    async def _receive(self, account_id: str, chunks: AsyncIterator[bytes], path: str) -> None:
        admitted = self.shares.admit(account_id, chunks)
        await receive(admitted, path, LARGEST_FILE, lambda _: None)

    def _read_archive(self, path: str) -> Sequence[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
        check_index(path)
        try:
            with zipfile.ZipFile(path) as archive:
                listed = archive.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
            raise Invalid("The file is no zip archive.") from None
        if len(listed) > self.limits.most_files:
            raise TooLarge(f"The archive has too many files: {option_of('most_files')}.")
        check_members(listed, os.path.getsize(path))
        files = (each for each in listed if not each.is_dir())
        return [(each, _member_path(each.filename)) for each in files]

    def _extract(
        self,
        path: str,
        tree: Tree,
        parts: Sequence[str],
        members: Sequence[tuple[zipfile.ZipInfo, tuple[str, ...]]],
    ) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                for member, names in members:
                    # No more is read of it than the archive says, which was counted.
                    with archive.open(member) as source, self._new_file() as new:
                        with translated(), open(new, "xb") as target:
                            _copy(source, target)
                        tree.put(new, (*parts, *names))
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise Invalid("The zip archive cannot be read.") from error


def _tree_in(folder: Path, account_id: str) -> Tree:
    return Tree(folder / quote(account_id, safe=""))


def _file_path(path: str) -> Sequence[str]:
    parts = read_path(path)
    if not parts:
        raise Invalid("/data is a directory. Name a file in it.")
    return parts


def _member_path(name: str) -> tuple[str, ...]:
    if name.startswith("/") or "\\" in name:
        raise Invalid(f"The archive has a file {name[:80]!r}, which is no relative path.")
    parts = read_path(name)
    if not parts:
        raise Invalid(f"The archive has a file {name[:80]!r}, which is no name of a file.")
    return parts


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while content := source.read(_PIECE):
        write_all(target, content)
