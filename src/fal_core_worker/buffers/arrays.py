"""NumPy arrays that NumPy itself would copy into the pickle."""

from __future__ import annotations

import sys
from typing import Any

from fal_core_worker.buffers.libraries import BUFFER_SIZE


def reduce_array(array: Any, storages: object) -> Any:
    """Reduce a large array that has gaps, or whose type, like dates, no buffer can have."""
    if array.nbytes < BUFFER_SIZE or type(array) is not sys.modules["numpy"].ndarray:
        return NotImplemented
    dtype = array.dtype
    if dtype.hasobject or dtype.kind == "T":
        return NotImplemented
    if not is_dense(array):
        return array.copy().__reduce_ex__(5)
    try:
        memoryview(array)
    except ValueError:
        return make_array, (array.view(f"V{dtype.itemsize}"), dtype)
    return NotImplemented


def is_dense(array: Any) -> bool:
    """Tell whether the elements lie side by side, in the order of any of the axes."""
    strides = array.strides
    axes = sorted(range(array.ndim), key=lambda axis: -abs(strides[axis]))
    return bool(array.transpose(axes).flags.c_contiguous)


def make_array(items: Any, dtype: Any) -> Any:
    """Return the array of *dtype* whose elements are the bytes of *items*."""
    return items.view(dtype)
