"""Arrow tables and columns, and the frames of pandas that hold them."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core_worker.buffers.libraries import BUFFER_SIZE

pyarrow = pytest.importorskip("pyarrow")

COUNT = 1 << 15

#: What :func:`values` makes: it takes long, as Arrow imports pandas.
NAMES = ("numbers", "texts", "lists", "categories", "chunks", "batch", "table")


def values() -> dict[str, Any]:
    """Return values of Arrow, all of one length."""
    numbers = pyarrow.array(range(COUNT))
    texts = pyarrow.array(["text", None] * (COUNT // 2))
    lists = pyarrow.array([[1, 2], []] * (COUNT // 2))
    return {
        "numbers": numbers,
        "texts": texts,
        "lists": lists,
        "categories": texts.dictionary_encode(),
        "chunks": pyarrow.chunked_array([numbers[:5], numbers[5:]]),
        "batch": pyarrow.record_batch({"a": numbers, "b": texts}),
        "table": pyarrow.table({"a": numbers, "b": texts}).replace_schema_metadata({"k": "v"}),
    }


def test_each_value_is_named() -> None:
    """The tests below leave none out."""
    assert tuple(values()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_values_travel_beside_the_pickle(name: str, travel: Any) -> None:
    """What is large of a value of Arrow is in no pickle."""
    value = values()[name]
    arrived = travel([value])[0]
    assert arrived.equals(value)
    assert type(arrived) is type(value)
    assert travel.size - sum(travel.sizes) < BUFFER_SIZE


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_travels_without_the_rest(name: str, travel: Any) -> None:
    """A small part of a large value takes no more than its size."""
    value = values()[name]
    part = value.slice(7, COUNT // 64)
    arrived = travel([part])[0]
    assert arrived.equals(part)
    assert type(arrived) is type(part)
    assert travel.size < value.get_total_buffer_size() / 8
    if hasattr(value, "schema"):
        assert arrived.schema.equals(part.schema, check_metadata=True)


def test_slices_that_cannot_be_copied_travel_whole(travel: Any) -> None:
    """
    Where Arrow has no way to copy a slice, or there is nothing to be gained, it travels as
    Arrow has it.
    """
    value = values()["numbers"]
    most = value.slice(COUNT // 4)
    assert travel(most).equals(most)
    assert travel.sizes[0] >= value.nbytes
    assert travel(value.slice(0, 0)).equals(value.slice(0, 0))


def make_frame(name: str) -> Any:
    """Return a frame of pandas, by what is special about it."""
    pandas = pytest.importorskip("pandas")
    numbers = pyarrow.array(range(COUNT))
    dates = pandas.date_range("2020", periods=COUNT, freq="s")
    columns: dict[str, Any] = {
        "numbers": [0.5] * COUNT,
        "dates": dates,
        "zones": dates.tz_localize("UTC"),
        "texts": pandas.array(["text"] * COUNT, dtype="string[pyarrow]"),
        "Arrow": pandas.arrays.ArrowExtensionArray(numbers),
        "nullable": pandas.array([1, None] * (COUNT // 2)),
        "categories": pandas.Categorical([*map(str, range(1 << 10))] * (COUNT >> 10)),
    }
    return pandas.DataFrame({"a": columns[name], "b": numbers.to_numpy()}, index=dates)


@pytest.mark.parametrize(
    "name",
    ["numbers", "dates", "zones", "texts", "Arrow", "nullable", "categories"],
)
def test_frames_travel_beside_the_pickle(name: str, travel: Any) -> None:
    """A frame, a column, and a part of the rows arrive equal, with what is large in no pickle."""
    from pandas.testing import assert_frame_equal, assert_series_equal

    frame = make_frame(name)
    assert_frame_equal(travel(frame), frame)
    assert travel.size - sum(travel.sizes) < BUFFER_SIZE
    assert_frame_equal(travel([frame.iloc[5:500]])[0], frame.iloc[5:500])
    assert_series_equal(travel({"a": frame["a"]})["a"], frame["a"])


def test_columns_that_pandas_keeps_as_arrow_are_not_copied(travel: Any) -> None:
    """The chunks of such a column arrive as they are, and not as one that was copied."""
    pandas = pytest.importorskip("pandas")
    chunks = pyarrow.chunked_array([range(COUNT), range(COUNT)])
    column = pandas.arrays.ArrowExtensionArray(chunks)
    arrived = travel(column)
    assert arrived.equals(column)
    assert arrived.__arrow_array__().num_chunks == 2


def test_columns_of_other_classes_travel_as_they_have_it(travel: Any) -> None:
    """A subclass, which may hold more than its elements, is left to pandas."""
    pandas = pytest.importorskip("pandas")

    class Labelled(pandas.arrays.ArrowExtensionArray):  # type: ignore[misc]
        label = ""

    column = Labelled(pyarrow.array(range(10)))
    column.label = "kept"
    arrived = travel(column)
    assert (type(arrived), arrived.label) == (Labelled, "kept")
    assert arrived.equals(column)
