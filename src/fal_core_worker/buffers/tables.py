"""Arrow tables and columns: slices travel without the rest of what they were cut from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fal_core_worker.buffers.libraries import BUFFER_SIZE


def reduce_table(table: Any, storages: object) -> Any:
    """Reduce a table or record batch, if it is a small part of what it was cut from."""

    def pack() -> Any:
        columns = [_pack_column(column) for column in table.columns]
        return type(table).from_arrays(columns, schema=table.schema)

    return _reduce_packed(table, pack)


def reduce_column(column: Any, storages: object) -> Any:
    """Reduce an array or a chunked one, if it is a small part of what it was cut from."""
    return _reduce_packed(column, lambda: _pack_column(column))


def _reduce_packed(value: Any, pack: Callable[[], Any]) -> Any:
    try:
        size = value.get_total_buffer_size()
        if size < BUFFER_SIZE or size <= 2 * value.nbytes:
            return NotImplemented
        packed = pack()
    except sys.modules["pyarrow"].ArrowException:
        return NotImplemented  # There is no copying of values of this type.
    return packed.__reduce__()


def _pack_column(column: Any) -> Any:
    pyarrow = sys.modules["pyarrow"]
    if isinstance(column, pyarrow.ChunkedArray):
        chunks = [pyarrow.concat_arrays([chunk]) for chunk in column.chunks]
        return pyarrow.chunked_array(chunks, type=column.type)
    return pyarrow.concat_arrays([column])


def reduce_pandas_array(array: Any, storages: object) -> Any:
    """Reduce a column of a frame that pandas keeps as an Arrow array. pandas would copy it."""
    dtype = array.dtype
    if type(array) is not dtype.construct_array_type():
        return NotImplemented
    return make_pandas_array, (dtype, array.__arrow_array__())


def make_pandas_array(dtype: Any, chunks: Any) -> Any:
    """Return the column of *dtype* that has the Arrow array *chunks*."""
    return dtype.__from_arrow__(chunks)
