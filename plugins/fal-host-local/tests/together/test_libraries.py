"""Values of libraries: their memory is shared with warm workers."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalMissingDependencyError
from fal_host_local import LocalHost

#: Elements that take more memory than the pieces that a pickle is sent in.
COUNT = 1 << 20


def test_tensors_go_there_and_come_back(host: LocalHost) -> None:
    """
    A large tensor is written to in the worker, and the result in the caller; the caller's
    own tensor stays as it is.
    """
    torch = pytest.importorskip(
        "torch", reason="needs torch: FAL_CORE_TORCH=... dev.py tensors"
    )

    def change(tensor: Any) -> Any:
        tensor[0] = 7
        return {"changed": tensor, "rows": tensor.reshape(2, -1)}

    tensor = torch.zeros(COUNT, dtype=torch.bfloat16)
    answer = function("current", host=host)(change)(tensor)
    assert float(tensor[0]) == 0
    assert float(answer["changed"][0]) == 7
    answer["rows"][1, 0] = 5
    assert float(answer["changed"][COUNT // 2]) == 5


def test_calls_of_a_map_share_no_tensors(host: LocalHost) -> None:
    """
    A call that changes its tensor changes neither what others are given nor their results,
    though the tensors have memory in common where they come from.
    """
    torch = pytest.importorskip(
        "torch", reason="needs torch: FAL_CORE_TORCH=... dev.py tensors"
    )
    given = torch.zeros(100)

    def change(tensor: Any) -> Any:
        global kept
        tensor += 1
        kept = globals().get("kept", torch.zeros(10))
        return float(tensor[-1]), kept[:5]

    results = list(function("current", host=host)(change).map([given[i:] for i in range(50)]))
    assert {last for last, _ in results} == {1.0}
    results[0][1].fill_(9)
    assert not any(part.any() for _, part in results[1:])


def test_frames_and_tables_go_there_and_come_back(host: LocalHost) -> None:
    """Large frames of pandas and tables of Arrow come back equal."""
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    isolated = function("current", host=host)(lambda value: value)

    table = pyarrow.table({"a": range(COUNT), "b": ["text"] * COUNT})
    frame = pandas.DataFrame({"a": pandas.date_range("2020", periods=COUNT, freq="s")})
    arrived, rows = isolated((table, frame))
    assert arrived.equals(table)
    assert rows.equals(frame)


def test_workers_import_only_what_they_were_sent(host: LocalHost) -> None:
    """A worker whose functions have no values of a library does not import it."""
    for name in ("numpy", "pandas", "pyarrow", "torch"):
        try:
            __import__(name)
        except ImportError:
            pass

    def imported() -> list[str]:
        import sys

        return sorted({"numpy", "pandas", "pyarrow", "torch"} & set(sys.modules))

    assert function("current", host=host)(imported)() == []


def test_a_tensor_for_a_worker_without_torch(host: LocalHost) -> None:
    """The error says that torch is missing, and what to do."""
    torch = pytest.importorskip(
        "torch", reason="needs torch: FAL_CORE_TORCH=... dev.py tensors"
    )
    measure = function("virtualenv", host=host, requirements=["attrs"])(len)
    with pytest.raises(FalMissingDependencyError, match="module 'torch' is not found"):
        measure(torch.zeros(COUNT))
