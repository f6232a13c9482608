"""Contents: what clients read and write in the directory of their account."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import struct
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import attrs

from fal_core.caches import new_file
from fal_server.account_data.fetches import Fetcher
from fal_server.account_data.paths import read_path
from fal_server.account_data.trees import Tree, TreeEntry
from fal_server.arrivals.receiving import receive, write_all
from fal_server.errors import Invalid, NotFound, TooLarge
from fal_server.limits import Limits, option_of
from fal_server.state.databases import Database
from fal_server.state.file_stores import translated
from fal_server.state.tasks import uninterrupted
from fal_server.store.blobs import LARGEST_FILE, Blobs
from fal_server.store.storage_shares import StorageShares


@attrs.define(eq=False)
class DataShares(StorageShares):
    """
    Keeps what clients put into the directory of each account within the limits.

    What its applications write there is counted, but not held up.

    Arguments:
        tree_of: Returns the files of an account.
    """

    _tree_of: Callable[[str], Tree] = attrs.field(kw_only=True)

    async def measure(self, account_id: str) -> tuple[int, int]:
        """Return how many files are in the directory of an account, and their bytes."""
        return await asyncio.to_thread(self._tree_of(account_id).measure)


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
        """Open the directories in *folder*."""

        find = functools.partial(_tree_in, folder)
        shares = DataShares(database, blobs, limits, tree_of=find)
        return cls(folder, blobs, uploads, shares, fetcher, limits)

    def tree_of(self, account_id: str) -> Tree:
        """Return the files of an account."""
        return _tree_in(self.folder, account_id)

    def drop_left(self) -> None:
        """Remove what a server that was killed was receiving."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._arriving) as found:
            for each in found:
                if each.stat(follow_symlinks=False).st_mtime < time.time() - _LEFT:
                    os.unlink(each)

    async def entries(self, account_id: str, path: str) -> Sequence[TreeEntry]:
        """Return what is in a directory, or a file itself; nothing where neither is there."""
        return await asyncio.to_thread(self.tree_of(account_id).entries, read_path(path))

    async def open(self, account_id: str, path: str) -> IO[bytes]:
        """Open a file for reading."""
        return await asyncio.to_thread(self.tree_of(account_id).open, read_path(path))

    async def put(self, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Put a file in its place once all of its *chunks* have come."""
        parts = _file_path(path)
        with self._new_file() as new:
            await self._receive(account_id, chunks, new)
            await asyncio.to_thread(self.tree_of(account_id).put, new, parts)

    async def unzip(self, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Put the files of a zip archive into a directory."""
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
        """Put a file in its place that was sent in parts."""
        parts = _file_path(path)
        async with (
            self.blobs.taking(account_id, upload, numbers) as taken,
            self.shares.holding(account_id, files=1, size=taken.size),
        ):
            with self._new_file() as new:
                await asyncio.to_thread(self.blobs.parts.make_file, taken, new)
                await asyncio.to_thread(self.tree_of(account_id).put, new, parts)

    async def fetch(self, account_id: str, path: str, url: str) -> None:
        """Put a file in its place that is at a URL."""
        async with self.fetcher.fetch(account_id, url) as chunks:
            await self.put(account_id, path, chunks)

    async def remove(self, account_id: str, path: str) -> None:
        """Remove a file, or a directory with everything in it."""
        await asyncio.to_thread(self.tree_of(account_id).remove, read_path(path))

    async def rename(self, account_id: str, path: str, other: str) -> None:
        """Give a file or a directory another path."""
        tree = self.tree_of(account_id)
        await asyncio.to_thread(tree.rename, read_path(path), read_path(other))

    async def has_hash(self, account_id: str, path: str, hash: str) -> bool:
        """Return whether a directory was sent whole by a client that knew it by *hash*."""

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


#: The end of an archive, without its comment: where its index is, and how long.
_END = struct.Struct("<4s4H2LH")

#: Where the end of a large archive is, and that end itself.
_LOCATOR, _LARGE_END = struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")

#: What a number is in the end of an archive that has another one for large numbers.
_ELSEWHERE = 0xFFFFFFFF

_LONGEST_COMMENT = 0xFFFF

#: The largest index, in bytes: that of some hundred thousand files. It takes several times as
#: much memory.
_LARGEST = 16 << 20

#: The most files that are unpacked of one archive, with the directories that they are in, and
#: their bytes.
_MOST_FILES, _LARGEST_UNPACKED = 100_000, 32 << 30

#: How many times larger than their archive they may be together. That of a program or of a
#: text is below 30, and that of what deflate packs best a thousand.
_LARGEST_RATIO = 100

#: The bytes up to which the ratio does not matter, as of a few empty tables.
_SMALL = 16 << 20


def check_index(path: str) -> None:
    """
    Check that the index of a zip archive may be read into memory.

    Raises:
        Invalid: The file is no zip archive.

        TooLarge: Its index is too large.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _END.size - _LONGEST_COMMENT - _LOCATOR.size)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise Invalid("The file is no zip archive.")
        length = _END.unpack_from(tail, at)[5]
        before = at - _LOCATOR.size
        if before >= 0 and tail[before : before + 4] == b"PK\x06\x07":
            # That is where it is read from, wherever the locator says that it is.
            there = start + before - _LARGE_END.size
            file.seek(max(0, there))
            end = file.read(_LARGE_END.size)
            said = _LOCATOR.unpack_from(tail, before)[2]
            if said != there or not end.startswith(b"PK\x06\x06"):
                raise Invalid("The file is no zip archive.")
            length = max(length if length != _ELSEWHERE else 0, _LARGE_END.unpack(end)[8])
    if length > _LARGEST:
        raise TooLarge("The archive has too many files. Send it in several.")


def check_members(members: Collection[zipfile.ZipInfo], size: int) -> None:
    """
    Check that an archive of *size* bytes may be unpacked.

    What it says of its files is true: no more is read of a file than was said, and one that
    has less is refused then.

    Raises:
        Invalid: A file is packed in a way of which unpacking takes any amount of memory.

        TooLarge: It has too many files, or they are too large, or too much larger than it.
    """
    places = set[str]()
    for member in members:
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Invalid(
                f"The file {member.filename[:80]!r} of the archive is not packed by deflate. "
                "Nothing else is unpacked."
            )
        place = member.filename.rstrip("/")
        while place and place not in places:
            places.add(place)
            place = place.rpartition("/")[0]
        if len(places) > _MOST_FILES:
            raise TooLarge(
                f"The archive has more than {_MOST_FILES:,} files and directories. Send it in "
                "several."
            )
    unpacked = sum(member.file_size for member in members)
    if unpacked > _LARGEST_UNPACKED:
        raise TooLarge(
            f"The files of the archive have {unpacked:,} bytes, of which at most "
            f"{_LARGEST_UNPACKED:,} are unpacked at once. Send it in several."
        )
    if unpacked > max(_SMALL, _LARGEST_RATIO * size):
        raise TooLarge(
            f"The files of the archive have {unpacked:,} bytes, and itself {size:,}: more than "
            f"{_LARGEST_RATIO} times as much as it has is not unpacked. Send the files one by "
            "one."
        )
