"""Files in requests and responses: models of a URL, with what is known of the file there."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from fal_serve.media.buckets.policy_uploads import repository_for
from fal_serve.media.downloads import fetch_to
from fal_serve.media.errors import DownloadError, MediaInputError
from fal_serve.media.repositories import (
    DEFAULT_REPOSITORY,
    FALLBACK_REPOSITORY,
    FileData,
    FileRepository,
    Repositories,
    RepositoryId,
    Reservation,
    find_repository,
    lifecycle_of,
    save_in_turn,
)

_SCHEMES = ("http", "https", "data")

#: The most bytes that are unpacked of an archive, and the most files.
_MOST_UNPACKED, _MOST_MEMBERS = 10 << 30, 100_000


class File(BaseModel):
    """A file at a URL. In requests, the URL alone stands for it."""

    url: str = Field(description="The URL where the file can be downloaded from.")
    content_type: str | None = Field(
        None, description="The mime type of the file.", examples=["image/png"]
    )
    file_name: str | None = Field(
        None,
        description="The name of the file. It will be auto-generated if not provided.",
        examples=["z9RV14K95DvU.png"],
    )
    file_size: int | None = Field(
        None, description="The size of the file in bytes.", examples=[4404019]
    )
    file_data: bytes | None = Field(None, description="File data", exclude=True, repr=False)

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra={"ui": {"field": "file"}})

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            scheme = urlsplit(value[:2048]).scheme
        except ValueError:
            scheme = ""
        if scheme not in _SCHEMES:
            raise ValueError(f"a file is given by a URL, with one of {', '.join(_SCHEMES)}")
        return {"url": value}

    @classmethod
    def _from_url(cls, url: str) -> Self:
        """Return the file at *url*, of which nothing else is known. Programs for fal use it."""
        return cls.model_validate({"url": url})

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        content_type: str | None = None,
        file_name: str | None = None,
        repository: FileRepository | RepositoryId = DEFAULT_REPOSITORY,
        fallback_repository: Repositories | None = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: dict[str, Any] | None = None,
        fallback_save_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """
        Keep *data*, and return the file with its URL.

        Raises:
            FileUploadException: It cannot be kept.
        """
        content = FileData(data, content_type, file_name)
        lifecycle = lifecycle_of(request)
        place = repository_for(request, repository)
        url = save_in_turn(
            "save",
            content,
            place,
            fallback_repository if place is repository else None,
            {"object_lifecycle_preference": lifecycle, **(save_kwargs or {})},
            {"object_lifecycle_preference": lifecycle, **(fallback_save_kwargs or {})},
        )
        return cls(
            url=url,
            content_type=content.content_type,
            file_name=content.file_name,
            file_size=len(data),
            file_data=data,
        )

    @classmethod
    async def from_bytes_async(cls, *args: Any, **kwargs: Any) -> Self:
        """Do what ``from_bytes`` does, on a thread."""
        return await asyncio.to_thread(cls.from_bytes, *args, **kwargs)

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        content_type: str | None = None,
        repository: FileRepository | RepositoryId = DEFAULT_REPOSITORY,
        multipart: bool | None = None,
        fallback_repository: Repositories | None = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: dict[str, Any] | None = None,
        fallback_save_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """
        Keep the file at *path*, and return it with its URL.

        Raises:
            FileNotFoundError: There is none.

            FileUploadException: It cannot be kept.
        """
        found = Path(path)
        if not found.exists():
            raise FileNotFoundError(f"File {found} does not exist.")
        kind = content_type or FileData(b"", None, found.name).content_type
        common = {
            "object_lifecycle_preference": lifecycle_of(request),
            "multipart": multipart,
            "content_type": kind,
        }
        place = repository_for(request, repository)
        url, data = save_in_turn(
            "save_file",
            found,
            place,
            fallback_repository if place is repository else None,
            {**common, **(save_kwargs or {})},
            {**common, **(fallback_save_kwargs or {})},
        )
        return cls(
            url=url,
            content_type=kind,
            file_name=found.name,
            file_size=found.stat().st_size,
            file_data=None if data is None else data.data,
        )

    @classmethod
    async def from_path_async(cls, *args: Any, **kwargs: Any) -> Self:
        """Do what ``from_path`` does, on a thread."""
        return await asyncio.to_thread(cls.from_path, *args, **kwargs)

    @classmethod
    def reserve(
        cls,
        content_type: str | None = None,
        file_name: str | None = None,
        request: Any = None,
        repository: FileRepository | RepositoryId = DEFAULT_REPOSITORY,
        extra_headers: dict[str, str] | None = None,
    ) -> PendingFile:
        """Return the URL of a file that is sent later, where the repository gives one."""
        content = FileData(b"", content_type, file_name)
        place = repository_for(request, repository)
        reservation = find_repository(place).reserve(
            content.file_name,
            content.content_type,
            lifecycle_of(request),
            request,
            extra_headers=extra_headers,
        )
        return PendingFile(content.content_type, content.file_name, reservation)

    def as_bytes(self) -> bytes:
        """Return the content of a file that was made here."""
        if self.file_data is None:
            raise ValueError("The file was not downloaded. Call save(path), and read that.")
        return self.file_data

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """
        Download the file to *path*, and return the whole path.

        Raises:
            FileExistsError: There is a file, which is not to be overwritten.

            MediaInputError: It cannot be downloaded, is too large, or takes too long.
        """
        target = Path(path).resolve()
        if target.exists() and not overwrite:
            raise FileExistsError(f"File {target} already exists. Pass overwrite=True.")
        try:
            fetch_to(self.url, target)
        except DownloadError as error:
            raise MediaInputError(str(error)) from error
        return target

    async def save_async(self, path: str | Path, overwrite: bool = False) -> Path:
        """Do what ``save`` does, on a thread."""
        return await asyncio.to_thread(self.save, path, overwrite)


@dataclass
class PendingFile:
    """A file that has a URL, and no content yet."""

    content_type: str
    file_name: str
    _reservation: Reservation = field(repr=False)

    @property
    def url(self) -> str:
        """Where the file will be."""
        return self._reservation.url

    def complete(self, content: bytes | str | Path) -> File:
        """Send the content, and return the file."""
        sent = content if isinstance(content, bytes) else Path(content)
        self._reservation.complete(sent)
        return File(
            url=self.url,
            content_type=self.content_type,
            file_name=self.file_name,
            file_size=len(sent) if isinstance(sent, bytes) else sent.stat().st_size,
            file_data=sent if isinstance(sent, bytes) else None,
        )

    def abort(self) -> None:
        """Give the URL up."""
        self._reservation.abort()


class CompressedFile(File):
    """A ZIP archive, whose files it iterates over once they are unpacked."""

    extract_dir: str | None = Field(default=None, exclude=True, repr=False)

    most_bytes: ClassVar[int] = _MOST_UNPACKED

    def __iter__(self) -> Iterator[Path]:  # type: ignore[override]  # as fal's does
        return self._folder().iterdir()

    def glob(self, pattern: str) -> Iterator[Path]:
        """Return the unpacked files that fit *pattern*."""
        return self._folder().glob(pattern)

    def _folder(self) -> Path:
        if self.extract_dir is None:
            folder = tempfile.mkdtemp()
            try:
                self._unpack(Path(folder))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self.extract_dir = folder
        return Path(self.extract_dir)

    def _unpack(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as beside:
            archive = self.save(Path(beside) / "archive")
            try:
                with zipfile.ZipFile(archive) as unpacked:
                    members = unpacked.infolist()
                    size = sum(each.file_size for each in members)
                    if size > self.most_bytes or len(members) > _MOST_MEMBERS:
                        raise MediaInputError(
                            f"The archive has {len(members)} files of {size} bytes, and may "
                            f"have {_MOST_MEMBERS} of {self.most_bytes}."
                        )
                    free = shutil.disk_usage(folder).free
                    if size > free:
                        raise MediaInputError(
                            f"The archive has files of {size} bytes, and the disk of {folder} "
                            f"has {free} left."
                        )
                    unpacked.extractall(folder)
            except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
                raise MediaInputError(f"The archive cannot be unpacked: {error}.") from error

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):
            if self.extract_dir is not None:
                shutil.rmtree(self.extract_dir, ignore_errors=True)
