"""
Options that a host cannot use are told of once.
"""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import function
from fal_core.errors import UnsupportedError
from fal_core.testing import InProcessHost


def told(captured: pytest.CaptureFixture[str]) -> list[str]:
    """
    Return what was told since the last time.
    """
    return [line for line in captured.readouterr().err.splitlines() if "does not use" in line]


@pytest.mark.parametrize("seal", ["once", "every call"])
def test_each_option_is_told_of_once(capsys: pytest.CaptureFixture[str], seal: Any) -> None:
    """
    A function tells of an option once for each host, however it is called or changed.
    """

    @function("current", host=InProcessHost(), machine_type="GPU-H100", seal=seal)
    def give(number: int = 1) -> int:
        return number

    assert [give(1), give(2)] == [1, 2]
    assert list(give.map([3])) == [3]
    assert give.on(InProcessHost())(4) == 4
    (line,) = told(capsys)
    assert "'in-process'" in line
    assert "'machine_type'" in line
    assert give.on(keep_alive=60)(5) == 5
    (line,) = told(capsys)
    assert "'keep_alive'" in line
    assert "machine_type" not in line


def test_another_function_tells_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Functions of one name are two; each tells of its options, also one that has no hash.
    """

    def declared() -> Any:
        @function("current", host=InProcessHost(), machine_type="GPU-H100")
        def give() -> int:
            return 1

        return give

    for _ in range(2):
        assert declared()() == 1
        assert len(told(capsys)) == 1

    class Adder(list[int]):
        def __call__(self) -> int:
            return sum(self)

    add: Any = function("current", host=InProcessHost(), regions=["eu"])(Adder([1, 2]))
    assert [add(), add.on(keep_alive=None)()] == [3, 3]
    assert len(told(capsys)) == 1


def test_errors_and_silence_are_not_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``on_unsupported="error"`` refuses each call, and ``"ignore"`` tells of none.
    """

    @function("current", host=InProcessHost(), machine_type="GPU-H100")
    def give() -> int:
        return 1

    assert give.on(on_unsupported="ignore")() == 1
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="use option 'machine_type'"):
            give.on(on_unsupported="error")()
    assert told(capsys) == []
    assert give() == 1
    assert len(told(capsys)) == 1
