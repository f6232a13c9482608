"""
Errors of files that are kept, sent and downloaded.

    MediaError
    ├── FileUploadException             a file could not be kept
    │   └── FileUploadFallbackException     by any of several repositories
    ├── KVStoreException                the key-value store refused something
    └── DownloadError                   a file or repository could not be downloaded
        └── MediaInputError             it was sent by the client, who is told with 422
"""

from __future__ import annotations

from fal_serve.exceptions import AppException


class MediaError(Exception):
    """An error of a file that is kept, sent or downloaded."""


class FileUploadException(MediaError):
    """A file could not be kept."""


class FileUploadFallbackException(FileUploadException):
    """No repository could keep a file; the message has the error of each."""


class KVStoreException(MediaError):
    """The key-value store refused a request."""


class DownloadError(MediaError):
    """A file or a repository could not be downloaded."""


class MediaInputError(DownloadError, AppException):
    """A file that the client refers to cannot be read. It is answered with 422."""

    def __init__(self, message: str, status_code: int = 422) -> None:
        AppException.__init__(self, message, status_code)
