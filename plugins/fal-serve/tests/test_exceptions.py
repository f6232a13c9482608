"""The exceptions that handlers raise."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest

from fal_serve.exceptions import (
    AppClientError,
    AppException,
    CUDAOutOfMemoryException,
    FieldException,
    GPUException,
    GPUOutOfMemoryException,
    RequestCancelledException,
    catch_gpu_exceptions,
    find_gpu_error,
)

ERRORS = [
    AppException(message="no", status_code=402),
    FieldException(field="size", message="too large", billable_units=2),
    RequestCancelledException(),
    GPUException(),
    GPUOutOfMemoryException(),
    CUDAOutOfMemoryException(),
    AppClientError("no", 500, {"a": "b"}),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exceptions_travel(error: Exception):
    """An exception survives pickling and copying, however it was created."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert str(again) == str(error)
        assert again != error
        assert hash(again)


def test_text_of_exceptions():
    """The text of an exception is its message, with the name of a field if there is one."""
    assert str(AppException("no", 402)) == "no"
    assert str(FieldException("size", "too large")) == "size: too large"


@pytest.mark.parametrize("units", [-1, float("nan"), float("inf"), "-2", "many"])
def test_billable_units_are_a_number(units):
    """Invalid units are refused when the exception is created."""
    with pytest.raises(ValueError, match=r"at least 0|could not convert"):
        FieldException("size", "no", billable_units=units)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), GPUException),
        (RuntimeError("cuBLAS failure: CUBLAS_STATUS_ALLOC_FAILED"), CUDAOutOfMemoryException),
        (RuntimeError("HIP out of memory"), CUDAOutOfMemoryException),
        (RuntimeError("out of memory"), None),
        (RuntimeError("the ship has sailed"), None),
        (KeyError("cuda"), None),
        (GPUOutOfMemoryException(), GPUOutOfMemoryException),
    ],
)
def test_gpu_errors_are_known(error: Exception, expected: type | None):
    """An error of the GPU is recognised by its origin; mentioning GPUs is not enough."""
    found = find_gpu_error(error)
    assert (found and type(found)) == expected


def test_catch_gpu_exceptions_in_functions_of_every_kind():
    """The decorator works on functions of all kinds, and passes other errors on."""
    failure = RuntimeError("CUDA error: out of memory")

    @catch_gpu_exceptions()
    def plain():
        raise failure

    @catch_gpu_exceptions()
    async def coroutine():
        raise failure

    @catch_gpu_exceptions()
    def generator():
        yield 1
        raise failure

    @catch_gpu_exceptions()
    async def async_generator():
        yield 1
        raise failure

    async def consume():
        return [item async for item in async_generator()]

    for call in (
        plain,
        lambda: asyncio.run(coroutine()),
        lambda: list(generator()),
        lambda: asyncio.run(consume()),
    ):
        with pytest.raises(CUDAOutOfMemoryException) as caught:
            call()
        assert caught.value.__cause__ is failure

    with pytest.raises(KeyError), catch_gpu_exceptions():
        raise KeyError("other")
    with pytest.raises(GPUException) as caught, catch_gpu_exceptions():
        raise GPUException("mine")
    assert caught.value.message == "mine"
