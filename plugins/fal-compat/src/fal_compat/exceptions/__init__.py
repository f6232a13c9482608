"""Exceptions of applications and of the SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fal_compat.exports import lazily
from fal_serve.exceptions import (
    AppException,
    CUDAOutOfMemoryException,
    FieldException,
    GPUException,
    GPUOutOfMemoryException,
    RequestCancelledException,
    catch_gpu_exceptions,
)

if TYPE_CHECKING:
    from fal_core import FalServerlessException
    from fal_host_serverless.credentials import (
        MissingCredentials as UnauthenticatedException,
    )

__all__ = [
    "AppException",
    "AppFileUploadException",
    "CUDAOutOfMemoryException",
    "FalServerlessException",
    "FieldException",
    "FileTooLargeError",
    "GPUException",
    "GPUOutOfMemoryException",
    "RequestCancelledException",
    "UnauthenticatedException",
    "catch_gpu_exceptions",
]


@dataclass(eq=False)
class FileTooLargeError(Exception):
    """A file is too large."""

    message: str = "File is too large."

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class AppFileUploadException(Exception):
    """A file of an application could not be uploaded."""

    message: str
    relative_path: str

    def __str__(self) -> str:
        return f"{self.relative_path}: {self.message}"


if not TYPE_CHECKING:
    # Those of programs that call functions, which are not there where functions run.
    __getattr__, __dir__, _ = lazily(
        __name__,
        {
            "fal_core": "FalServerlessException",
            "fal_host_serverless.credentials": "UnauthenticatedException=MissingCredentials",
        },
    )
