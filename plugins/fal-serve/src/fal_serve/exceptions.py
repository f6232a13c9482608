"""
Exceptions that handlers raise for responses of their own.

    AppException                    any status
    ├── GPUException                503: this machine cannot go on
    │   └── GPUOutOfMemoryException
    │       └── CUDAOutOfMemoryException
    FieldException                  422: one field of the request is invalid
    RequestCancelledException       499: the client has disconnected
    AppClientError                  raised by the client of an application
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, TypeVar, cast

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(eq=False)
class _Facts(Exception):
    """An exception whose facts are its fields. It pickles however it was created."""

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        # All have a message, though not always as their first field.
        return str(self.message)  # type: ignore[attr-defined]


@dataclass(eq=False)
class AppException(_Facts):
    """An error that is sent to the client: *message*, with the status *status_code*."""

    message: str
    status_code: int


@dataclass(eq=False)
class FieldException(_Facts):
    """
    An error for an invalid field of the request, answered like a failed validation.

    Attributes:
        type: The type of the error, as validation names it.

        billable_units: What the request costs. None leaves it to the host.
    """

    field: str
    message: str
    status_code: int = 422
    type: str = "value_error"
    billable_units: int | float | str | None = 0

    def __post_init__(self) -> None:
        units = self.billable_units
        if units is not None and not (math.isfinite(float(units)) and float(units) >= 0):
            raise ValueError(f"billable_units must be a number of at least 0, not {units!r}.")
        super().__post_init__()

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"

    def to_pydantic_format(self) -> dict[str, list[dict[str, Any]]]:
        """Return the body of the response."""
        where = {"loc": ["body", self.field], "msg": self.message, "type": self.type}
        return {"detail": [where]}


@dataclass(eq=False)
class RequestCancelledException(_Facts):
    """The client has disconnected, or has cancelled the request."""

    message: str = "The request was cancelled by the client."


@dataclass(eq=False)
class AppClientError(_Facts):
    """An application did not answer as it should."""

    message: str
    status_code: int
    headers: dict[str, str] = field(default_factory=dict)


# -- GPUs ------------------------------------------------------------------------


@dataclass(eq=False)
class GPUException(AppException):
    """The GPU of this machine has failed; the host may replace the machine."""

    message: str = "GPU error"
    status_code: int = 503


@dataclass(eq=False)
class GPUOutOfMemoryException(GPUException):
    """The GPU of this machine has run out of memory."""

    message: str = "GPU error: out of memory"


@dataclass(eq=False)
class CUDAOutOfMemoryException(GPUOutOfMemoryException):
    """CUDA has run out of memory."""

    message: str = "CUDA error: out of memory"


#: Packages whose exceptions are all errors of the GPU.
_GPU_PACKAGES = ("cupy", "cupy_backends", "pycuda", "pynvml", "triton")

#: Names of libraries that the messages of GPU errors contain.
_GPU_WORDS = re.compile(
    r"(?<![a-z])(cuda|cudnn|cublas|cufft|cusolver|cusparse|nccl|nvml|triton|hip|rocm)"
    r"(?![a-z])|CU(DA|DNN|BLAS)_|NVML_|NCCL_",
    re.IGNORECASE,
)

#: Messages of PyTorch for a lack of memory, most of which do not say so.
_OUT_OF_MEMORY = (
    "out of memory",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def find_gpu_error(error: BaseException) -> GPUException | None:
    """Return the GPUException that stands for *error*, or None if it is no error of the GPU."""
    if isinstance(error, GPUException):
        return error
    text = str(error)
    package = type(error).__module__.partition(".")[0]
    by_text = isinstance(error, RuntimeError) and _GPU_WORDS.search(text) is not None
    if not by_text and package not in _GPU_PACKAGES:
        return None
    if any(words in text for words in _OUT_OF_MEMORY):
        return CUDAOutOfMemoryException()
    return GPUException()


class catch_gpu_exceptions:
    """
    Turn errors of the GPU into a :class:`GPUException`, which is answered with 503.

    It is a context manager, and a decorator of functions of every kind.
    """

    def __enter__(self) -> catch_gpu_exceptions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        found = None if error is None else find_gpu_error(error)
        if found is not None and found is not error:
            raise found from error

    def __call__(self, func: HandlerT) -> HandlerT:
        wrapper: Any
        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await func(*args, **kwargs)

        elif inspect.isasyncgenfunction(func):

            @functools.wraps(func)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    async for item in func(*args, **kwargs):
                        yield item

        elif inspect.isgeneratorfunction(func):

            @functools.wraps(func)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return (yield from func(*args, **kwargs))

        else:

            @functools.wraps(func)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return func(*args, **kwargs)

        return cast(HandlerT, wrapper)
