"""The default repository under another name, which takes streams too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from fal_serve.media.repositories import FalFileRepository, FileData, keep


class LocalFileRepository(FalFileRepository):
    """The server that runs the application, else the service itself."""

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> str:
        return super().save(data, object_lifecycle_preference=object_lifecycle_preference)

    def save_stream(
        self,
        chunks: Iterable[bytes],
        file_name: str,
        content_type: str,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> str:
        """
        Keep a file whose size is known once all of it has come, and return its URL.

        Raises:
            FileUploadException: It cannot be kept.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "content"
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            return keep(
                path,
                name=file_name,
                content_type=content_type,
                lifecycle=object_lifecycle_preference,
            )
