"""Downloads: files that appear at their place when they are complete, and not before."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path

from fal_serve.media.errors import DownloadError
from fal_serve.media.fetching import (
    Deadline,
    LocalSource,
    Source,
    describe,
    fetch,
    read_data_url,
    show_url,
)
from fal_serve.media.places import WEIGHTS, find_place

#: The most bytes of a file whose URL a caller has chosen, and the most seconds that its
#: download may take, where these variables do not say otherwise.
SIZE_VARIABLE, SECONDS_VARIABLE = "FAL_SERVE_DOWNLOAD_SIZE", "FAL_SERVE_DOWNLOAD_SECONDS"
_MOST_BYTES, _MOST_SECONDS = 10 << 30, 600

#: The bytes of a disk that downloads leave free.
_RESERVE = 256 << 20

_MEGABYTE = 1 << 20
_CHUNK = 1 << 20

#: The beginning of the names of files that are not complete, and of notes about others.
_HIDDEN = ".fal"
_INCOMPLETE = ".fal_download."

#: Seconds after which an incomplete file has no process that goes on with it.
_ABANDONED = 24 * 3600.0

#: A file in the folder of weights, whose time says when they were used.
_USED = ".fal_used"


def download_file(
    url: str,
    target_dir: str | os.PathLike[str],
    *,
    force: bool = False,
    request_headers: Mapping[str, str] | None = None,
    filesize_limit: int | None = None,
    sha256: str | None = None,
    timeout: float | None = None,
) -> Path:
    """
    Download the file at *url* into the folder *target_dir*, and return its path.

    It has the name that its server gives it, or the last part of the URL. A file of this
    name and of the announced size that is there already is kept.

    Arguments:
        target_dir: A relative path is one below ``/data``.

        force: Whether to download it even so.

        filesize_limit: The most megabytes.

        sha256: The digest that it has to have, as hexadecimal digits.

        timeout: The most seconds that the whole download may take. Without it, one ends of
            which nothing has come for 30 seconds.

    Raises:
        DownloadError: It cannot be downloaded, is too large, takes too long, or has another
            digest. What was at its place is still there.
    """
    folder = find_place(target_dir).absolute()
    limit = None if filesize_limit is None else filesize_limit * _MEGABYTE
    digest = _check_digest(sha256)
    with (
        _in_folder(folder, url),
        Deadline(timeout) as deadline,
        open_url(url, deadline, request_headers) as source,
    ):
        target = folder / _name_of(url, source.headers)
        if not force and _is_there(target, source.headers, digest):
            return target
        print(f"Downloading {show_url(url)} to {target}", flush=True)
        _save(source, target, url, deadline, limit=limit, digest=digest)
    return target


def fetch_to(url: str, target: Path) -> None:
    """
    Download the file at *url*, which a caller may have chosen, to the path *target*.

    Raises:
        DownloadError: It cannot be downloaded, is too large, or takes too long.
    """
    limit = _read_number(SIZE_VARIABLE, _MOST_BYTES)
    with (
        _in_folder(target.parent, url),
        _callers_deadline() as deadline,
        open_url(url, deadline) as source,
    ):
        _save(source, target, url, deadline, limit=limit, digest=None)


def fetch_bytes(url: str, *, limit: int) -> bytes:
    """
    Return the content of the file at *url*, which a caller may have chosen, of at most *limit*
    bytes.

    Raises:
        DownloadError: It cannot be downloaded, is too large, or takes too long.
    """
    with _callers_deadline() as deadline, open_url(url, deadline) as source:
        return b"".join(_chunks(source, url, deadline, limit))


def _callers_deadline() -> Deadline:
    return Deadline(_read_number(SECONDS_VARIABLE, _MOST_SECONDS))


def _read_number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise


def download_model_weights(
    url: str,
    force: bool = False,
    request_headers: Mapping[str, str] | None = None,
    *,
    filesize_limit: int | None = None,
    sha256: str | None = None,
    timeout: float | None = None,
) -> Path:
    """
    Return the path of the weights at *url*, which are downloaded once.

    Arguments:
        force: Whether to download them even if they are there.

        filesize_limit, sha256, timeout: What they may have and take, and have to be, where
            they are downloaded: as those of :func:`download_file`.

    Raises:
        DownloadError: They cannot be downloaded, are too large, take too long, or have another
            digest.
    """
    folder = find_place(WEIGHTS) / hash_url(url)
    found = None if force else _newest_in(folder)
    digest = _check_digest(sha256)
    if found is None or (digest and _digest_of(found) != digest):
        found = download_file(
            url,
            folder,
            force=True,
            request_headers=request_headers,
            filesize_limit=filesize_limit,
            sha256=digest,
            timeout=timeout,
        )
    with contextlib.suppress(OSError):
        (folder / _USED).touch()
    return found


@contextlib.contextmanager
def open_url(
    url: str, deadline: Deadline, headers: Mapping[str, str] | None = None
) -> Iterator[Source]:
    """Yield the file at *url*: from here, if it is a data URL or a file of this service."""
    from fal_serve.media.kept_files import find_own

    local: LocalSource | None = None
    if url[:5].lower() == "data:":
        local = read_data_url(url)
    else:
        own = find_own(url)
        if own is not None:
            local = LocalSource(own.path, own.content_type)
    if local is None:
        with fetch(url, headers, deadline=deadline) as source:
            yield source
        return
    with contextlib.closing(local):
        yield local


@contextlib.contextmanager
def _in_folder(folder: Path, url: str) -> Iterator[None]:
    """Make *folder*, and say what cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _drop_abandoned(folder)
        yield
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{show_url(url)} cannot be kept in {folder}: {describe(error)}."
        ) from error


def _drop_abandoned(folder: Path) -> None:
    for each in folder.glob(f"{_INCOMPLETE}*"):
        with contextlib.suppress(OSError):
            if time.time() - each.stat().st_mtime > _ABANDONED:
                each.unlink()


def _save(
    source: Source,
    target: Path,
    url: str,
    deadline: Deadline,
    *,
    limit: int | None,
    digest: str | None,
) -> None:
    size = _size_of(source.headers)
    if size is not None and (limit is None or size <= limit):
        _check_disk(target.parent, url, size)
    counted = hashlib.sha256()
    incomplete = target.with_name(f"{_INCOMPLETE}{uuid.uuid4().hex}")
    try:
        with incomplete.open("xb") as file:
            for chunk in _chunks(source, url, deadline, limit):
                _check_disk(target.parent, url, len(chunk))
                counted.update(chunk)
                file.write(chunk)
        if digest is not None and counted.hexdigest() != digest:
            raise DownloadError(
                f"{show_url(url)} has the SHA-256 {counted.hexdigest()}, and should have "
                f"{digest}. It was not kept."
            )
        incomplete.replace(target)
    finally:
        incomplete.unlink(missing_ok=True)


def _check_disk(folder: Path, url: str, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size + _RESERVE > free:
        raise DownloadError(
            f"{show_url(url)} has {size} bytes or more, and the disk of {folder} has {free} "
            f"left, of which {_RESERVE} stay free."
        )


def _chunks(source: Source, url: str, deadline: Deadline, limit: int | None) -> Iterator[bytes]:
    size, received = _size_of(source.headers), 0
    if limit is not None and size is not None and size > limit:
        raise DownloadError(_too_large(url, f"has {size}", limit))
    while True:
        try:
            chunk = source.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            deadline.check(url)
            raise DownloadError(
                f"{show_url(url)} cannot be downloaded: {describe(error)}."
            ) from error
        deadline.check(url)
        if not chunk:
            break
        received += len(chunk)
        if limit is not None and received > limit:
            raise DownloadError(_too_large(url, f"has more than {limit}", limit))
        yield chunk
    if size is not None and received < size:
        raise DownloadError(
            f"{show_url(url)} was not downloaded whole: {received} of {size} bytes came. "
            "Try again."
        )


def _too_large(url: str, size: str, limit: int) -> str:
    return f"{show_url(url)} {size} bytes, and may have {limit}."


def _size_of(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _name_of(url: str, headers: Message) -> str:
    given = headers.get_filename() or ""
    path = "" if url[:5].lower() == "data:" else urllib.parse.urlsplit(url).path
    for each in (given, path):
        name = each.replace("\\", "/").rpartition("/")[2]
        if name not in ("", ".", "..") and "\0" not in name and len(name.encode()) <= 255:
            return name
    return hash_url(url)


def hash_url(url: str) -> str:
    """Return the name that stands for *url* where there is no other."""
    return hashlib.sha256(url.encode()).hexdigest()


def _is_there(target: Path, headers: Message, digest: str | None) -> bool:
    size = _size_of(headers)
    if size is None or not target.is_file() or target.stat().st_size != size:
        return False
    return digest is None or _digest_of(target) == digest


def _newest_in(folder: Path) -> Path | None:
    try:
        files = [each for each in folder.iterdir() if not each.name.startswith(_HIDDEN)]
        return max(files, key=lambda each: each.stat().st_mtime, default=None)
    except FileNotFoundError:
        return None


def _check_digest(text: str | None) -> str | None:
    if text is None:
        return None
    digest = text.lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"sha256 has to be 64 hexadecimal digits, not {text!r}.")
    return digest


def _digest_of(path: Path) -> str:
    counted = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            counted.update(chunk)
    return counted.hexdigest()
