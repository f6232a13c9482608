"""
Archives: the file of a backup, which is written and read from its beginning to its end.

It is a tar file. Its first member says in which format it is, and its last one has a digest of
all others, so that one that ends early is told from a whole one.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

import attrs

from fal_server.errors import ServerError

#: The version of the format, increased when earlier servers cannot read it.
FORMAT = 1

_HEAD, _END = "fal-server-backup.json", "end.json"

_PIECE = 1 << 20


@attrs.frozen(kw_only=True)
class Head:
    """
    What stands at the beginning of an archive.

    Attributes:
        layout: The layout of the tables.

        made_at: When it was made, in seconds since the epoch.
    """

    layout: int
    made_at: float = attrs.field(factory=time.time)


class ArchiveWriter:
    """Writes an archive."""

    def __init__(self, file: IO[bytes], head: Head) -> None:
        self._tar = tarfile.open(  # noqa: SIM115  # It is closed by `close`.
            fileobj=file, mode="w|", format=tarfile.PAX_FORMAT
        )
        self._digest = hashlib.sha256()
        self.add(_HEAD, _to_bytes({"format": FORMAT, **attrs.asdict(head)}))

    def add(self, name: str, content: bytes) -> None:
        """Add a member."""
        self.add_pieces(name, len(content), [content])

    def add_pieces(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Add a member of a known *size*."""
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, int(time.time())
        self._tar.addfile(member, _Pieces(_digested(self._digest, name, size, pieces)))

    def close(self) -> None:
        """Complete the archive."""
        end = _to_bytes({"sha256": self._digest.hexdigest()})
        member = tarfile.TarInfo(_END)
        member.size, member.mode = len(end), 0o600
        self._tar.addfile(member, io.BytesIO(end))
        self._tar.close()


class ArchiveReader:
    """
    Reads an archive.

    Attributes:
        head: What stands at its beginning.

    Raises:
        ServerError: It is no archive, is of a newer version, or is not whole.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._name = name
        self._digest = hashlib.sha256()
        try:
            self._tar = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115  # By `close`.
            first = self._tar.next()
        except tarfile.TarError:
            first = None
        if first is None or first.name != _HEAD:
            raise ServerError(f"{name} is not a backup of a server.")
        try:
            head = json.loads(b"".join(self._pieces(first)))
            format = int(head.pop("format"))
            if format == FORMAT:
                self.head = Head(layout=int(head["layout"]), made_at=float(head["made_at"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._broken() from None
        if format != FORMAT:
            raise ServerError(
                f"{name} was made by a newer version (format {format}; this one knows "
                f"{FORMAT}). Restore it with that version."
            )

    def members(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """
        Yield the name and the pieces of each member, which are read before the next one.

        Raises:
            ServerError: The archive is not whole. Nothing of it may be used then.
        """
        try:
            while (member := self._tar.next()) is not None:
                if member.name == _END:
                    return self._check(member)
                pieces = self._pieces(member)
                yield member.name, pieces
                for _ in pieces:
                    # The caller has not read all of it.
                    pass
        except (tarfile.TarError, EOFError) as error:
            raise self._broken() from error
        raise self._broken()

    def close(self) -> None:
        """Close what reads it, and leave the file open."""
        self._tar.close()

    def _pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(member)
        if file is None:
            raise self._broken()
        pieces = iter(functools.partial(self._read, file), b"")
        return _digested(self._digest, member.name, member.size, pieces)

    def _read(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(_PIECE)
        except (tarfile.TarError, EOFError) as error:
            raise self._broken() from error

    def _check(self, end: tarfile.TarInfo) -> None:
        told = self._digest.hexdigest()
        file = self._tar.extractfile(end)
        try:
            is_whole = file is not None and json.load(file)["sha256"] == told
        except (ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise self._broken()

    def _broken(self) -> ServerError:
        return ServerError(f"{self._name} is damaged, or is not all of a backup. Use another.")


class _Pieces(io.RawIOBase):
    """Pieces as a file, which has all that they have."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (self._rest or self._next()):
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(bytes(part))
            size -= len(part)
        return b"".join(parts)

    def _next(self) -> bool:
        self._rest = memoryview(next(self._pieces, b""))
        return bool(self._rest)


def _digested(digest: Any, name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Note a member in *digest*, and yield its *pieces*, each of which is noted too."""
    digest.update(f"{name}\0{size}\0".encode())

    def note() -> Iterator[bytes]:
        for piece in pieces:
            digest.update(piece)
            yield piece

    return note()


def _to_bytes(content: Any) -> bytes:
    return json.dumps(content).encode()
