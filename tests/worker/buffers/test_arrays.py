"""NumPy arrays: those that NumPy would copy into the pickle."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core_worker.buffers.libraries import BUFFER_SIZE

numpy = pytest.importorskip("numpy")

COUNT = BUFFER_SIZE


def arrays() -> dict[str, Any]:
    """Return large arrays, by what is special about them."""
    numbers = numpy.arange(COUNT * 2.0)
    record = [("at", "M8[s]"), ("count", "i4")]
    return {
        "dates": numpy.arange(COUNT).astype("M8[s]"),
        "durations": numpy.arange(COUNT).astype("m8[ns]"),
        "dates in Fortran's order": numpy.asfortranarray(
            numpy.arange(COUNT).astype("M8[s]").reshape(4, -1)
        ),
        "records": numpy.zeros(COUNT, dtype=record),
        "every other": numbers[::2],
        "backwards": numbers[::-1],
        "a part of each row": numbers.reshape(4, -1)[:, 5:-5],
        "dates with gaps": numpy.arange(COUNT * 2).astype("M8[s]")[::2],
        "other order of axes": numbers.reshape(4, 2, -1).transpose(1, 0, 2),
        "many dimensions": numbers.reshape(*[2] * 16, -1),
    }


@pytest.mark.parametrize("name", arrays())
def test_large_arrays_travel_beside_the_pickle(name: str, travel: Any) -> None:
    """An array arrives equal, of its type, and writable; none of it is copied into the pickle."""
    array = arrays()[name]
    arrived = travel({"a": [array]})["a"][0]
    assert numpy.array_equal(arrived, array)
    assert (type(arrived), arrived.dtype) == (type(array), array.dtype)
    assert arrived.flags.writeable
    assert travel.sizes == [array.nbytes]


def test_other_arrays_travel_as_numpy_has_it(travel: Any) -> None:
    """Small arrays, those of objects and texts, and subclasses, arrive as they were."""
    many = COUNT
    values = [
        numpy.arange(3).astype("M8[D]"),
        numpy.array("2020-01-01", dtype="M8[D]"),
        numpy.arange(6)[::2],
        numpy.array([{"a": 1}, None] * many, dtype=object)[::2],
        numpy.ma.masked_array(numpy.arange(many), numpy.arange(many) % 2),
        numpy.arange(many).view(numpy.matrix)[:, ::2],
    ]
    if hasattr(numpy.dtypes, "StringDType"):
        values.append(numpy.array(["a", "b"] * many, dtype=numpy.dtypes.StringDType())[::2])
    for array in values:
        arrived = travel(array)
        assert (type(arrived), arrived.dtype) == (type(array), array.dtype)
        assert (arrived == array).all()
        assert repr(arrived) == repr(array)


def test_a_read_only_array_stays_read_only(travel: Any) -> None:
    """An array of dates that was read-only where it was sealed is so where it is opened."""
    array = numpy.arange(COUNT).astype("M8[s]")
    array.flags.writeable = False
    assert not travel(array).flags.writeable
