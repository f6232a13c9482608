"""
Repositories: where files are kept, and how each gets its URL.

By default that is the server that runs the application, else the service itself while it
runs. A process that is neither gives out data URLs.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from mimetypes import guess_extension, guess_type
from pathlib import Path
from typing import Any, Literal, get_args

from fal_serve.answering.requests import IncomingRequest, RequestContext, current, logger
from fal_serve.media.errors import FileUploadException, FileUploadFallbackException
from fal_serve.media.kept_files import new_id, own_files
from fal_serve.media.uploads import Lifecycle, find_server

RepositoryId = Literal["fal", "fal_v2", "fal_v3", "in_memory", "gcp_storage", "r2", "cdn"]

#: Data URLs are for files of at most so many bytes.
_MOST_IN_URL = 16 << 20

#: Files of more bytes are not held in memory beside where they are kept.
LARGE = 100 << 20


class FileData:
    """A file's content, with the type and the name that it goes by."""

    def __init__(
        self, data: bytes, content_type: str | None = None, file_name: str | None = None
    ) -> None:
        if content_type is None and file_name is not None:
            content_type = guess_type(file_name)[0]
        self.data = data
        self.content_type: str = content_type or "application/octet-stream"
        if file_name is None:
            ending = guess_extension(self.content_type, strict=False) or ".bin"
            # The same content has the same URL each time, so that it can be cached.
            stem = hashlib.sha256(data).hexdigest()[:32] if data else uuid.uuid4().hex
            file_name = f"{stem}{ending}"
        self.file_name = file_name


@dataclass(frozen=True)
class Reservation:
    """A URL that is given out before its content is there, and how to send or drop that."""

    url: str
    complete: Callable[[bytes | Path], object]
    abort: Callable[[], None] = field(default=lambda: None)
    cdn_signing_requested: bool = False


def hold(url: str, send: Callable[[bytes | Path], object]) -> Reservation:
    """
    Return the reservation of *url*, whose content is sent once, by *send*. It may be tried
    again after an error.
    """
    pending = _Pending(send)
    return Reservation(url, pending.complete, pending.abort)


class _Pending:
    def __init__(self, send: Callable[[bytes | Path], object]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._end: str | None = None

    def complete(self, content: bytes | Path) -> None:
        with self._lock:
            if self._end is not None:
                raise FileUploadException(f"The URL of a file {self._end} already.")
            self._send(content)
            self._end = "has its content"

    def abort(self) -> None:
        with self._lock:
            self._end = self._end or "was given up"


@dataclass
class FileRepository:
    """A place for files. Subclass it, and write ``save``."""

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: dict[str, str] | None = None,
        request: Any = None,
        extra_headers: dict[str, str] | None = None,
    ) -> Reservation:
        """Return a URL for a file that is sent later."""
        raise FileUploadException(
            f"{type(self).__name__} gives no URL for a file that is sent later. Make the file "
            "first, and then a File of it."
        )

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
    ) -> str:
        """Keep a file, and return its URL."""
        raise FileUploadException(f"{type(self).__name__} has no method 'save'.")

    def save_file(
        self,
        file_path: str | Path,
        content_type: str,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
    ) -> tuple[str, FileData | None]:
        """Keep a file of the disk, and return its URL, with its content unless that is large."""
        path = Path(file_path)
        data = FileData(path.read_bytes(), content_type, path.name)
        url = self.save(data, object_lifecycle_preference=object_lifecycle_preference)
        return url, data


@dataclass
class FalFileRepository(FileRepository):
    """The default: the server that runs the application, else the service itself."""

    @property
    def auth_headers(self) -> dict[str, str]:
        """The headers by which that server knows who asks, and which request it is for."""
        server = find_server()
        if server is None:
            raise FileUploadException("No server runs this process that would take headers.")
        return server.headers()

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: dict[str, str] | None = None,
        request: Any = None,
        extra_headers: dict[str, str] | None = None,
    ) -> Reservation:
        """
        Return a URL for a file that is sent later. Until then nothing is there.

        Raises:
            FileUploadException: No server runs this process, and it is no service.
        """
        lifecycle = object_lifecycle_preference
        server, own = find_server(), own_files()
        if server is not None:
            begun = server.begin(
                name=file_name,
                content_type=content_type,
                lifecycle=lifecycle,
                headers=extra_headers,
                request=request,
            )
            return hold(begun.url, begun.send)
        if own is None:
            raise FileUploadException(
                "Outside of a service, a file is in its URL: there is none before its content. "
                "Make the file first, and then a File of it."
            )
        kept, id = own.kept, new_id()

        def send(content: bytes | Path) -> None:
            seconds = _seconds(lifecycle)
            kept.add(content, name=file_name, content_type=content_type, seconds=seconds, id=id)

        return hold(own.url_of(id, file_name), send)

    def save(
        self,
        file: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> str:
        return keep(
            file.data,
            name=file.file_name,
            content_type=file.content_type,
            lifecycle=object_lifecycle_preference,
        )

    def save_file(
        self,
        file_path: str | Path,
        content_type: str,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> tuple[str, FileData | None]:
        path = Path(file_path)
        is_large = path.stat().st_size > LARGE if multipart is None else multipart
        data = None if is_large else FileData(path.read_bytes(), content_type, path.name)
        url = keep(
            path if data is None else data.data,
            name=path.name,
            content_type=content_type,
            lifecycle=object_lifecycle_preference,
        )
        return url, data


@dataclass
class InMemoryRepository(FileRepository):
    """Data URLs, which have the file in them."""

    def save(
        self,
        file: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
    ) -> str:
        return f"data:{file.content_type};base64,{base64.b64encode(file.data).decode()}"


DEFAULT_REPOSITORY: FileRepository | RepositoryId = "fal_v3"
FALLBACK_REPOSITORY: list[FileRepository | RepositoryId] = ["fal"]

#: One repository, or several that are tried in turn.
Repositories = FileRepository | RepositoryId | list[FileRepository | RepositoryId]

_DEFAULT_IDS = ("fal", "fal_v2", "fal_v3", "cdn")

#: Modules and classes of others, which are imported at their first use.
_BUCKETS = {
    "r2": ("fal_serve.media.buckets.r2", "R2Repository"),
    "gcp_storage": ("fal_serve.media.buckets.google_storage", "GoogleStorageRepository"),
}


def is_default(repository: FileRepository | RepositoryId) -> bool:
    """
    Tell whether *repository* is the default one, under any of its names, and not one that
    is derived from it.
    """
    name = repository if isinstance(repository, str) else type(repository).__name__
    return name in (*_DEFAULT_IDS, "FalFileRepository", "LocalFileRepository")


def find_repository(id: FileRepository | RepositoryId) -> FileRepository:
    """
    Return the repository of the name *id*.

    Raises:
        ValueError: There is none of that name.

        FileUploadException: It is a bucket, whose account or library is not there.
    """
    if isinstance(id, FileRepository):
        return id
    if id in _DEFAULT_IDS:
        return FalFileRepository()
    if id == "in_memory":
        return InMemoryRepository()
    if id in _BUCKETS:
        module, name = _BUCKETS[id]
        found: FileRepository = getattr(importlib.import_module(module), name)()
        return found
    raise ValueError(
        f"There is no repository {id!r}. Use one of {', '.join(get_args(RepositoryId))}, or "
        "pass a FileRepository of your own, with a method 'save' that returns a URL."
    )


def keep(
    content: bytes | Path, *, name: str, content_type: str, lifecycle: Lifecycle | None
) -> str:
    """
    Keep a file where files of this process are kept, and return its URL.

    Raises:
        FileUploadException: It cannot be kept.
    """
    server = find_server()
    if server is not None:
        return server.upload(content, name=name, content_type=content_type, lifecycle=lifecycle)
    own = own_files()
    if own is not None:
        file = own.kept.add(
            content, name=name, content_type=content_type, seconds=_seconds(lifecycle)
        )
        return own.url_of(file.id, file.name)
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size > _MOST_IN_URL:
        raise FileUploadException(
            f"File {name!r} has {size} bytes. Outside of a service it is put into a data URL, "
            f"which may have {_MOST_IN_URL}: serve the application, or pass a repository."
        )
    data = content if isinstance(content, bytes) else content.read_bytes()
    return InMemoryRepository().save(FileData(data, content_type, name))


def _seconds(lifecycle: Lifecycle | None) -> float | None:
    value = (lifecycle or {}).get("expiration_duration_seconds")
    try:
        seconds = float(value) if value is not None else 0.0
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 1e10 else None


def lifecycle_of(request: Any = None) -> dict[str, str] | None:
    """
    Return how long the client wants files to be kept.

    Arguments:
        request: A request of FastAPI, or of this package. None: the one that is answered.
    """
    if request is None:
        answered = current.get()
        return None if answered is None else answered.lifecycle_preference
    if isinstance(request, RequestContext):
        return request.lifecycle_preference
    return IncomingRequest("", request.headers.raw).lifecycle_preference


def save_in_turn(
    method: str,
    argument: Any,
    repository: FileRepository | RepositoryId,
    fallback: Repositories | None,
    keywords: Mapping[str, Any],
    fallback_keywords: Mapping[str, Any],
) -> Any:
    """Call *method* of the first repository that can keep a file, and return its result."""
    others: Sequence[FileRepository | RepositoryId] = (
        [] if fallback is None else fallback if isinstance(fallback, list) else [fallback]
    )
    tried: list[FileRepository] = []
    failures: list[tuple[FileRepository, Exception]] = []
    for each in (repository, *others):
        found = find_repository(each)
        if type(found) is FalFileRepository and found in tried:
            # By another name, it would fail once more.
            continue
        used = fallback_keywords if tried else keywords
        if failures:
            kept = type(found).__name__
            logger.warning("%s gets a file that was not taken: %s", kept, failures[-1][1])
        tried.append(found)
        try:
            return getattr(found, method)(argument, **used)
        except Exception as error:
            failures.append((found, error))
    if len(failures) == 1:
        raise failures[0][1]
    # A repository is not shown itself: it may have credentials.
    said = "; ".join(f"{type(each).__name__}: {error}" for each, error in failures)
    raise FileUploadFallbackException(f"No repository could keep the file. {said}") from (
        failures[-1][1]
    )
