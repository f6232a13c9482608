"""
Parts: the parts of an upload, which clients send in any order, several at once, and again.

Where the store is a folder of this machine, a part whose size is known before it arrives is
written at its place: for each size of parts, an upload has one file in which part N begins at
N-1 times that size. As all parts but the last are of one size, the file is complete with them,
and no byte is written twice. Any other part has a file of its own, and is copied.

The files of an upload are in one folder: ``7`` is part 7, and replaces one at its place;
``7.placed``, a sparse file of the part's size, says that part 7 is at its place in
``whole.SIZE``; ``7.partial`` says that only some of it is there. Each counts as much as it
occupies at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import IO

import attrs

from fal_core.caches import new_file
from fal_server.arrivals.receiving import deliver, receive, write_all
from fal_server.state.file_stores import PIECE, FileStore, check_complete, translated
from fal_server.state.tasks import run_in_thread

#: The least size of a part that is written at its place, in bytes.
_LEAST = 1 << 20

#: How many bytes the system copies by itself at once.
_LARGEST_COPY = 1 << 30

_PLACED, _PARTIAL = ".placed", ".partial"


@attrs.frozen
class Part:
    """
    A part that has arrived: *size* bytes of the file *name*, from *start* on.

    Attributes:
        is_placed: Whether this is the place of the part, in a file of parts of this size.
    """

    name: str
    size: int
    start: int = 0
    is_placed: bool = False


def is_of_part(name: str) -> bool:
    """Return whether a file of an upload counts as a part."""
    last = name.rpartition("/")[2]
    return last.removesuffix(_PLACED).removesuffix(_PARTIAL).isdigit()


@attrs.frozen(eq=False)
class Parts:
    """The parts of the uploads in a store, each of which is a folder there."""

    files: FileStore
    #: The parts that are written at their place at this moment.
    _writing: set[str] = attrs.field(factory=set, init=False, repr=False)

    async def add(
        self,
        folder: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        largest: int,
        hash: Callable[[bytes], None],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Add or replace a part. It is replaced once all of it has arrived.

        Arguments:
            size: Its bytes, as far as that is known before it arrives.

            check: Raises what is wrong with the upload by now.

        Raises:
            TooLarge: It is larger than *largest*.

            StorageFull: The disk is full.
        """
        if size is not None and size > largest:
            # No room is kept for that: what comes is refused, or is smaller than was told.
            size = None
        name = f"{folder}/{number}"
        with new_file(self.files.place_of("uploads/part")) as path:
            place, is_placed = self._find_place(folder, number, size), False
            if place is None:
                await receive(chunks, path, largest, hash)
            else:
                writer = _PlaceWriter(place, path)
                with self._claim(name, place):
                    try:
                        await deliver(chunks, writer.write, largest, hash)
                        is_placed = await run_in_thread(writer.finish)
                    except FileNotFoundError:
                        # The folder of the upload has been removed.
                        await check()
                        raise
            await check()
            if place is not None and is_placed:
                with translated():
                    os.rename(place.path_of(_PARTIAL), place.path_of(_PLACED))
            elif self.files.is_shared:
                await asyncio.to_thread(self.files.put, path, name, is_durable=False)
            else:
                self.files.put(path, name, is_durable=False)

    def writing(self) -> Set[str]:
        """Return the names of the files that are kept for parts which arrive at this moment."""
        return {f"{name}{_PARTIAL}" for name in tuple(self._writing)}

    def list(self, folder: str) -> Mapping[int, Part]:
        """Return the parts of an upload by their numbers."""
        own: dict[int, Part] = {}
        placed: dict[int, Part] = {}
        for each in self.files.find(folder):
            last = each.name.rpartition("/")[2]
            if last.isdigit():
                own[int(last)] = Part(each.name, each.size)
            elif last.endswith(_PLACED):
                number = int(last.removesuffix(_PLACED))
                whole = f"{folder}/{_whole(each.size)}"
                placed[number] = Part(whole, each.size, (number - 1) * each.size, True)
        return {**placed, **own}

    def make_file(self, taken: TakenParts, path: str) -> None:
        """
        Make a new file *path* of parts. Nobody adds to their upload meanwhile.

        It is another name of the file in which they are at their places, if that is possible.

        Raises:
            StorageFull: The disk is full.
        """
        whole = self._complete_whole(taken)
        with translated():
            if whole is not None and _link(whole, path):
                return
            with open(path, "xb", 0) as target:
                for part in taken.parts:
                    self._append(part, target)

    # -- places ------------------------------------------------------------------------

    def _find_place(self, folder: str, number: int, size: int | None) -> _Place | None:
        """Return the place of a part. None where there is none, or something else is there."""
        home = self.files.path_of(folder)
        if home is None or self.files.is_shared or size is None or size < _LEAST:
            return None
        place = _Place(home, number, size)
        name = f"{folder}/{number}"
        if name in self._writing or self.files.has(name):
            return None
        if place.path_of(_PLACED).exists() or _links(place.whole) > 1:
            return None
        with contextlib.suppress(FileNotFoundError):
            # What has broken off may go on at the same place alone: it is counted once.
            if place.path_of(_PARTIAL).stat().st_size != size:
                return None
        return place

    @contextlib.contextmanager
    def _claim(self, name: str, place: _Place) -> Iterator[None]:
        path = self.files.place_of(f"{name}{_PARTIAL}")
        with translated(), open(path, "ab") as file, open(place.whole, "ab"):
            file.truncate(place.size)
        self._writing.add(name)
        try:
            yield
        finally:
            self._writing.discard(name)

    def _complete_whole(self, taken: TakenParts) -> Path | None:
        """
        Return the file in which parts are at their places, once the last one is appended that
        has another size. None where there is no such file.
        """
        *numbers, end = taken.numbers
        count, size = len(taken.numbers), taken.parts[0].size
        name = f"{taken.folder}/{_whole(size)}"
        there = {number for number, part in taken.found.items() if part.name == name}
        if 1 not in there or numbers != list(range(1, count)) or not there.issuperset(numbers):
            return None
        if any(number >= count for number in there - {end}) or end in there - {count}:
            # The upload has more parts, which may be asked for if this fails.
            return None
        path = self.files.path_of(name)
        is_written = any(each.startswith(f"{taken.folder}/") for each in tuple(self._writing))
        if path is None or is_written or _links(path) != 1:
            return None
        with translated(), path.open("r+b", 0) as target:
            target.truncate(size * (count if end in there else count - 1))
            target.seek(0, os.SEEK_END)
            if end not in there:
                self._append(taken.parts[-1], target)
        return path

    def _append(self, part: Part, target: IO[bytes]) -> None:
        source = self.files.path_of(part.name)
        if source is not None:
            _append(source, part.start, part.size, target)
            return
        for piece in self.files.pieces(part.name, part.size):
            write_all(target, piece)


@attrs.frozen(kw_only=True)
class TakenParts:
    """
    Parts that become a file, in the order of their *numbers*.

    Attributes:
        folder: The folder of their upload.

        found: All parts that this has.
    """

    folder: str
    numbers: Sequence[int]
    found: Mapping[int, Part]

    @property
    def parts(self) -> Sequence[Part]:
        """The parts themselves."""
        return [self.found[number] for number in self.numbers]

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return sum(part.size for part in self.parts)


@attrs.frozen
class _Place:
    """The place of a part in the file for parts of its *size*."""

    folder: Path
    number: int
    size: int

    @property
    def whole(self) -> Path:
        return self.folder / _whole(self.size)

    @property
    def start(self) -> int:
        return (self.number - 1) * self.size

    def path_of(self, state: str) -> Path:
        return self.folder / f"{self.number}{state}"


@attrs.define
class _PlaceWriter:
    """Writes a part at its place. One of another size than was told is moved to the file *aside*."""

    _place: _Place
    _aside: str
    _written: int = 0
    _is_aside: bool = False

    def write(self, content: bytes) -> None:
        """
        Write some more. The file is opened each time: where the upload was removed meanwhile,
        nothing is written to a file that nobody sees.
        """
        if self._written + len(content) > self._place.size:
            self._move()
        path: str | Path = self._aside if self._is_aside else self._place.whole
        start = 0 if self._is_aside else self._place.start
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        with translated(), os.fdopen(file, "wb", 0) as target:
            target.seek(start + self._written)
            write_all(target, content)
        self._written += len(content)

    def finish(self) -> bool:
        """Return whether the part is at its place. It is in the file aside otherwise."""
        if self._written != self._place.size:
            self._move()
        return not self._is_aside

    def _move(self) -> None:
        if self._is_aside:
            return
        with translated(), open(self._aside, "xb", 0) as target:
            if self._written:
                _append(self._place.whole, self._place.start, self._written, target)
        self._is_aside = True


def _whole(size: int) -> str:
    return f"whole.{size}"


def _links(path: Path) -> int:
    """
    Return how many names a file has. A file with another one is somebody's already, and is not
    written to: the server was killed before it had removed the upload.
    """
    try:
        return path.stat().st_nlink
    except FileNotFoundError:
        return 0


def _link(path: Path, other: str) -> bool:
    """Give a file another name, and return whether the file system does that."""
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _append(path: Path, start: int, size: int, target: IO[bytes]) -> None:
    """Append some bytes of a file to another, by the system itself where it can."""
    with path.open("rb", 0) as source:
        source.seek(start)
        end = start + size
        if hasattr(os, "copy_file_range"):
            try:
                while (left := end - source.tell()) > 0:
                    count = min(left, _LARGEST_COPY)
                    if not os.copy_file_range(source.fileno(), target.fileno(), count):
                        break
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
                    raise
                # The file system does not support it. The rest of the file is copied here.
        while left := end - source.tell():
            content = source.read(min(left, PIECE))
            check_complete(left if not content else 0, str(path))
            write_all(target, content)
