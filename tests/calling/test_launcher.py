"""The checks before a function is called: the options that its host uses, and its Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import FalSerializationError, UnsupportedError
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities
from fal_core.plugins import registered
from fal_testing import InProcessHost

# -- Options that the host cannot use ------------------------------------------------


def told(captured: pytest.CaptureFixture[str]) -> list[str]:
    """Return the warnings since the last call."""
    return [line for line in captured.readouterr().err.splitlines() if "does not use" in line]


@pytest.mark.parametrize("seal", ["once", "every call"])
def test_each_unused_option_is_warned_of_once(
    capsys: pytest.CaptureFixture[str], seal: Any
) -> None:
    """A function warns of an option once for each host, however it is called or changed."""

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


def test_another_function_warns_of_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Two functions of one name each warn of their options, also one that has no hash."""

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


def test_errors_are_raised_every_time_and_silence_never_warns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``on_unsupported="error"`` refuses each call, and ``"ignore"`` prints nothing."""

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


# -- Other Pythons -----------------------------------------------------------------


def echo(value: Any) -> Any:
    return value


@attrs.define(eq=False, slots=False)
class ElsewhereHost(InProcessHost):
    """Keeps the calls it is given, and does not know which Python runs them."""

    name: ClassVar[str] = "elsewhere"
    capabilities: ClassVar[Capabilities] = attrs.evolve(
        InProcessHost.capabilities, kinds=None, same_python=False
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.calls: list[Call] = []

    def launch(self, call: Call, sink: Any) -> Any:
        self.calls.append(call)
        return super().launch(call, sink)


@attrs.define(eq=False, slots=False)
class HereHost(ElsewhereHost):
    """Runs the Python of this process."""

    name: ClassVar[str] = "here"
    capabilities: ClassVar[Capabilities] = InProcessHost.capabilities


@pytest.mark.parametrize(("cls", "travels"), [(ElsewhereHost, True), (HereHost, False)])
def test_functions_travel_as_source_where_the_python_is_not_known(
    cls: type[ElsewhereHost], travels: bool
) -> None:
    """A function also travels as source if its host may have another Python."""
    host = cls()
    assert function("current", host=host)(echo)(4) == 4
    assert [call.function.portable is not None for call in host.calls] == [travels]
    host.close()


@attrs.frozen(kw_only=True)
class OtherPython(CurrentEnvironment):
    """Has a Python of its own."""

    kind: ClassVar[str] = "other-python"

    python_version: str | None = None


class OtherPythons:
    """A plugin that registers the kind."""

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> Iterable[type[Environment]]:
        return [OtherPython]


def test_function_without_source_is_refused_for_another_python_at_once() -> None:
    """A function that another Python could not open is refused before its environment is built."""
    made: dict[str, Any] = {"__name__": "made"}
    exec("def give() -> int:\n    return 1\n", made)
    host = ElsewhereHost()
    with registered(OtherPythons()):
        isolated = function("other-python", host=host, python_version="3.98")(made["give"])
        with pytest.raises(
            FalSerializationError, match=r"'give' cannot travel to Python 3\.98 .* no source"
        ):
            isolated()
    assert host.calls == []
    host.close()
