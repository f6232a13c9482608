"""
Kept files: those that a service serves itself, where no server keeps them.

A content is kept once, in a folder that ends with the process. A URL of it cannot be
guessed, and is the same for the same content, name and type.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fal_serve.answering.requests import current
from fal_serve.media.errors import FileUploadException

#: The most bytes that a service keeps.
SIZE_VARIABLE = "FAL_SERVE_MEDIA_SIZE"
_MOST = 10 << 30

PATH = "/fal-media/{id}/{name}"
_URL = re.compile(r"/fal-media/([0-9a-f]{40})/[^/?#]*")

_LOCK = "lock"


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """
    A file of the service.

    Attributes:
        expires: When it goes, as of ``time.time``. None: with the service, or earlier if
            room is needed.
    """

    id: str
    path: Path
    name: str
    content_type: str
    size: int
    expires: float | None


class KeptFiles:
    """
    The files of a service.

    Arguments:
        folder: A folder of their own.

        most: The most bytes of them.
    """

    def __init__(
        self, folder: Path, *, most: int = _MOST, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._most = most
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._files: dict[str, KeptFile] = {}
        # One file is added at a time; what is known of the files is locked for a moment only.
        self._adding, self._lock = threading.Lock(), threading.Lock()

    def add(
        self,
        content: bytes | Path,
        *,
        name: str,
        content_type: str,
        seconds: float | None,
        id: str | None = None,
    ) -> KeptFile:
        """
        Keep a file, for *seconds* unless that is None, and no shorter than before.

        Arguments:
            id: The one that was given out for it with :func:`new_id`, if one was.

        Raises:
            FileUploadException: There is no room for it.
        """
        digest, size = _measure(content)
        facts = "\0".join((digest, name, content_type))
        id = id or hmac.digest(self._key, facts.encode(), "sha256").hex()[:40]
        expires = None if seconds is None else self._clock() + seconds
        path = self._folder / digest
        kept = KeptFile(
            id=id, path=path, name=name, content_type=content_type, size=size, expires=expires
        )
        with self._adding:
            with self._lock:
                before = self._find(id)
                if before is not None:
                    kept = replace(before, expires=_later(before.expires, expires))
                if before is not None or path.exists():
                    self._files[id] = kept
                    return kept
                self._make_room(size)
            # A large file takes long, and others are found meanwhile.
            self._write(content, path)
            with self._lock:
                self._files[id] = kept
        return kept

    def find(self, id: str) -> KeptFile | None:
        """Return a file, unless there is none, or it has expired."""
        with self._lock:
            return self._find(id)

    def _find(self, id: str) -> KeptFile | None:
        found = self._files.get(id)
        if found is not None and found.expires is not None and found.expires <= self._clock():
            self._drop(found)
            return None
        return found

    def _make_room(self, size: int) -> None:
        for each in list(self._files.values()):
            self._find(each.id)
        # The oldest come first.
        for each in [each for each in self._files.values() if each.expires is None]:
            if self._size() + size <= self._most:
                break
            self._drop(each)
        if self._size() + size > self._most:
            raise FileUploadException(
                f"The service keeps files of {self._size()} bytes, has no room for {size} "
                f"more, and may keep {self._most}. Set {SIZE_VARIABLE} to a number of bytes."
            )

    def _size(self) -> int:
        return sum({each.path: each.size for each in self._files.values()}.values())

    def _drop(self, file: KeptFile) -> None:
        del self._files[file.id]
        if all(each.path != file.path for each in self._files.values()):
            file.path.unlink(missing_ok=True)

    def _write(self, content: bytes | Path, path: Path) -> None:
        part = path.with_suffix(".part")
        try:
            if isinstance(content, bytes):
                part.write_bytes(content)
            else:
                shutil.copyfile(content, part)
            part.replace(path)
        except OSError as error:
            raise FileUploadException(
                f"A file of the service cannot be written to {self._folder}: {error.strerror}."
            ) from error
        finally:
            part.unlink(missing_ok=True)


def new_id() -> str:
    """Return an id for a file that is kept later, which cannot be guessed."""
    return secrets.token_hex(20)


def _later(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _measure(content: bytes | Path) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    counted, size = hashlib.sha256(), 0
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            counted.update(chunk)
            size += len(chunk)
    return counted.hexdigest(), size


# -- the service of this process -------------------------------------------------------


class OwnFiles:
    """
    The files of the service in this process, whose folder is made for the first one.

    Arguments:
        base: The URL of the service, for files that are kept outside of a request.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._kept: KeptFiles | None = None

    @property
    def kept(self) -> KeptFiles:
        """The files themselves."""
        with self._lock:
            if self._kept is None:
                text, folder = os.environ.get(SIZE_VARIABLE, ""), _open_folder()
                most = min(_MOST, shutil.disk_usage(folder).free // 2)
                if text.isascii() and text.isdigit():
                    most = int(text)
                self._kept = KeptFiles(folder, most=most)
            return self._kept

    def url_of(self, id: str, name: str) -> str:
        """Return the URL of a file, at the address by which the client knows the service."""
        quoted = urllib.parse.quote(name, safe="") or "file"
        return f"{self._address()}/fal-media/{id}/{quoted}"

    def find(self, url: str) -> KeptFile | None:
        """Return the file at *url*, if it is one of these."""
        if self._kept is None:
            return None
        # Its id is the secret: it is this file, regardless of the host that the client named.
        found = _URL.search(urllib.parse.urlsplit(url).path)
        return None if found is None else self._kept.find(found.group(1))

    def _address(self) -> str:
        request = current.get()
        headers = {} if request is None else request.headers
        host = headers.get("host", "")
        root = os.environ.get("FAL_APP_ROOT_PATH", "")
        if not re.fullmatch(r"[0-9A-Za-z._:\[\]-]+", host):
            return self._base + root
        scheme = headers.get("x-forwarded-proto", "http")
        return f"{scheme if scheme in ('http', 'https') else 'http'}://{host}{root}"


#: The files of the service that runs in this process; None outside of one.
_own: list[OwnFiles] = []


@contextlib.contextmanager
def keeping(base: str) -> Iterator[OwnFiles]:
    """Keep the files of a service at *base* meanwhile."""
    own = OwnFiles(base)
    _own.append(own)
    try:
        yield own
    finally:
        _own.remove(own)


def own_files() -> OwnFiles | None:
    """Return the files of the service in this process."""
    return _own[-1] if _own else None


def find_own(url: str) -> KeptFile | None:
    """Return the file of the service in this process that *url* leads to."""
    return next((found for own in _own if (found := own.find(url)) is not None), None)


def _open_folder() -> Path:
    """Make a folder that goes with this process, and remove those of processes that are gone."""
    base = Path(tempfile.gettempdir()) / f"fal-media-{os.getuid()}"
    base.mkdir(0o700, exist_ok=True)
    status = base.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        # Somebody else's, who could read what is kept in it.
        base = Path(tempfile.mkdtemp(prefix="fal-media-"))
    for each in base.iterdir():
        _drop_if_left(each)
    folder = Path(tempfile.mkdtemp(dir=base))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    # It is held until the process ends, however that is.
    fcntl.flock(lock, fcntl.LOCK_EX)
    atexit.register(_drop_own, folder, os.getpid())
    return folder


def _drop_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # One that is being made has no lock yet.
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _drop_own(folder: Path, process: int) -> None:
    # A child that was forked ends with the same callbacks.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
