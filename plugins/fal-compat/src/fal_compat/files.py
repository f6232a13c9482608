"""The files of an account, as a file system of fsspec."""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec import AbstractFileSystem

from fal_compat.exceptions import FalServerlessException
from fal_host_serverless import SyncServerlessClient

if TYPE_CHECKING:
    from fal_host_serverless.wire.rest import RestClient

#: Files of more bytes are sent in parts of so many.
_PART = 10 << 20
_CHUNK = 1 << 20

_ROOT = {"name": "/", "size": 0, "type": "directory", "mtime": 0}


class FalFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """
    The directory ``/data`` of an account. Relative paths are below it.

    Arguments:
        host: The address of the service.

        team: The team whose account it is.

        profile: The profile whose key is used.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        team: str | None = None,
        profile: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.host = host
        self.team = team
        self.profile = profile
        super().__init__(**kwargs)

    @functools.cached_property
    def _rest(self) -> RestClient:
        client = SyncServerlessClient(host=self.host, team=self.team, profile=self.profile)
        return client.find_service().shared_rest()

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Return the entries of a directory: their facts, or their paths alone."""
        place = _whole(path)
        if place not in self.dircache:
            self.dircache[place] = self._list(place)
        entries: list[dict[str, Any]] = self.dircache[place]
        return entries if detail else [each["name"] for each in entries]

    def _list(self, place: str) -> list[dict[str, Any]]:
        if place == "/":
            return [{**_ROOT, "name": "/data"}]
        told = self._send("GET", "list", place).json()
        found = [
            {
                "name": each["path"],
                "size": each["size"],
                "type": "file" if each["is_file"] else "directory",
                "mtime": each["updated_time"],
            }
            for each in told
        ]
        return sorted(found, key=lambda each: str(each["name"]))

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """
        Return the facts of a file or a directory.

        Raises:
            FileNotFoundError: There is none.
        """
        place = _whole(path)
        if place == "/":
            return dict(_ROOT)
        entries: list[dict[str, Any]] = []
        with contextlib.suppress(FalServerlessException):
            entries = self.ls(posixpath.dirname(place))
        for each in entries:
            if each["name"] == place:
                return each
        raise FileNotFoundError(f"There is no file {place} in the account.")

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        """Bring a file here; of a directory, make one."""
        place = _whole(rpath)
        if self.isdir(place):
            os.makedirs(lpath, exist_ok=True)
            return
        url = f"/files/file/{_quoted(place)}"
        headers = self._rest.credentials.headers()
        part = f"{lpath}.part"
        try:
            with (
                self._rest.http.stream("GET", url, headers=headers) as answer,
                open(part, "wb") as file,
            ):
                if answer.is_error:
                    answer.read()
                    raise FalServerlessException(f"{place}: {answer.text}")
                for chunk in answer.iter_bytes(_CHUNK):
                    file.write(chunk)
            os.replace(part, lpath)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return the content of a file."""
        return bytes(self._send("GET", "file", _whole(path)).content[start:end])

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **kwargs: Any) -> None:
        """Send a file; a directory is there as soon as it has one."""
        if os.path.isdir(lpath):
            return
        place = _whole(rpath)
        with open(lpath, "rb") as file:
            if os.fstat(file.fileno()).st_size > _PART:
                self._put_parts(file, place)
            else:
                sent = {"file_upload": (posixpath.basename(place), file)}
                self._send("POST", "file/local", place, files=sent)
        self.dircache.clear()

    def _put_parts(self, file: BinaryIO, place: str) -> None:
        begun = self._send("POST", "file/multipart", place, "/initiate").json()
        upload, parts = begun["upload_id"], []
        for number, part in enumerate(_parts_of(file), 1):
            sent = {"file_upload": (posixpath.basename(place), part)}
            way = f"/{upload}/{number}"
            told = self._send("PUT", "file/multipart", place, way, files=sent).json()
            parts.append({"part_number": number, "etag": told["etag"]})
        self._send(
            "POST", "file/multipart", place, f"/{upload}/complete", json={"parts": parts}
        )

    def put_file_from_url(
        self, url: str, rpath: str, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Have the service get a file from a URL."""
        self._send("POST", "file/url", _whole(rpath), json={"url": url}, timeout=600)
        self.dircache.clear()

    def rm(self, path: str, **kwargs: Any) -> None:
        """Remove a file, or a directory with all that is in it."""
        self._send("DELETE", "file", _whole(path))
        self.dircache.clear()

    def rename(self, path: str, destination: str, **kwargs: Any) -> None:
        """Give a file or a directory another path."""
        there = {"destination": _whole(destination)}
        self._send("POST", "rename", _whole(path), json=there)
        self.dircache.clear()

    def mv(
        self,
        path1: str,
        path2: str,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Do the same."""
        self.rename(path1, path2)

    def _send(self, method: str, verb: str, place: str, rest: str = "", **content: Any) -> Any:
        return self._rest.send(method, f"/files/{verb}/{_quoted(place)}{rest}", **content)


def _whole(path: str) -> str:
    return posixpath.normpath(posixpath.join("/data", str(path)))


def _quoted(path: str) -> str:
    return urllib.parse.quote(path)


def _parts_of(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(_PART):
        yield part
