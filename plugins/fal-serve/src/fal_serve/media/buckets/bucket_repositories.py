"""Repositories that keep files in a bucket, under a name of its own for each."""

from __future__ import annotations

import json
import os
import posixpath
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fal_serve.media.errors import FileUploadException
from fal_serve.media.repositories import LARGE, FileData, FileRepository, Reservation, hold


@dataclass
class BucketRepository(FileRepository, ABC):
    """
    A bucket. How long a file stays in it is for the bucket to say: what a caller wishes is
    not looked at.
    """

    bucket_name: str

    @property
    @abstractmethod
    def bucket(self) -> Any:
        """The bucket, as the library has it."""

    @abstractmethod
    def send(self, place: str, content: bytes | Path, content_type: str) -> None:
        """
        Put a file at *place* in the bucket.

        Raises:
            FileUploadException: The bucket does not take it.
        """

    @abstractmethod
    def url_of(self, place: str) -> str:
        """
        Return the URL at which what is at *place* is read.

        Raises:
            FileUploadException: No such URL can be signed.
        """

    @abstractmethod
    def folder_in_bucket(self) -> str:
        """Return the folder of the bucket that files are put into."""

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
    ) -> str:
        place = self.new_place(data.file_name)
        self.send(place, data.data, data.content_type)
        return self.url_of(place)

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
        path = Path(file_path)
        is_large = path.stat().st_size > LARGE if multipart is None else multipart
        data = None if is_large else FileData(path.read_bytes(), content_type, path.name)
        place = self.new_place(path.name)
        self.send(place, path if data is None else data.data, content_type)
        return self.url_of(place), data

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: dict[str, str] | None = None,
        request: Any = None,
        extra_headers: dict[str, str] | None = None,
    ) -> Reservation:
        """Return a URL for a file that is sent later. It is valid from now on."""
        place = self.new_place(file_name)
        return hold(self.url_of(place), lambda content: self.send(place, content, content_type))

    def new_place(self, file_name: str) -> str:
        """Return a place in the bucket that no other file has."""
        return posixpath.join(self.folder_in_bucket(), f"{uuid.uuid4().hex}_{file_name}")


def read_account(
    given: str | None, *, variable: str, repository: str, keys: Collection[str]
) -> dict[str, str]:
    """
    Return the account that keeps a bucket: *given*, else what is in *variable*.

    Raises:
        FileUploadException: It is not there, or lacks one of *keys*.
    """
    text = os.environ.get(variable) if given is None else given
    named = ", ".join(repr(each) for each in keys)
    if not text:
        raise FileUploadException(
            f"{repository} has no account: variable {variable} is not set. Set it, as with a "
            f"secret of that name, to a JSON object with {named}."
        )
    try:
        account = json.loads(text)
    except (ValueError, RecursionError):
        account = None
    # The account itself is not shown: it has secrets.
    if not isinstance(account, dict) or not all(
        isinstance(account.get(each), str) for each in keys
    ):
        source = f"Variable {variable}" if given is None else "The account"
        raise FileUploadException(
            f"{repository}: {source} is not a JSON object with {named}, each a text."
        )
    return account


def explain_missing(repository: str, package: str) -> FileUploadException:
    """Return the error of a library that is not installed."""
    return FileUploadException(
        f"{repository} sends files with the package {package!r}, which is not installed where "
        f"this runs. Add {package!r} to the requirements of the application."
    )
