"""Machine types that declarations name: whether anybody knows them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from fal_core import function
from fal_core.declaring import machine_types
from fal_core.errors import OptionError, OptionTypeError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine, UnknownMachineError
from fal_core.plugins import registered
from fal_testing.hosts.in_process import InProcessHost


class Knowing:
    """A plugin that knows two machine types."""

    fal_core_api = 1

    @hookimpl
    def fal_list_machines(self) -> list[Machine]:
        return [Machine(name="GPU-H100"), Machine(name="GPU-A100")]

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return {each.name: each for each in self.fal_list_machines()}.get(machine_type)


class ServiceHost(InProcessHost):
    """A host that may know machine types of its own."""

    capabilities = attrs.evolve(InProcessHost.capabilities, own_machines=True)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(machine_types, "_told", set())
    with registered(Knowing()):
        yield


@pytest.mark.parametrize(
    "options",
    [
        {"machine_type": "GPU-H1000"},
        {"machine_type": ["GPU-A100", "GPU-H1000"]},
        {"machine_types": ["XS", "GPU-H1000"]},
    ],
    ids=str,
)
def test_an_unknown_type_is_an_error_where_it_is_declared(options: dict[str, Any]) -> None:
    """Of one machine type or several, one that nobody knows is an error with a suggestion."""
    with pytest.raises(UnknownMachineError) as caught:
        function("current", host=InProcessHost(), **options)
    sentence = "Unknown machine type 'GPU-H1000'. Did you mean 'GPU-H100'?"
    assert str(caught.value) == sentence


@pytest.mark.parametrize("named", ["", " ", [], ["GPU-H100", ""]], ids=repr)
def test_no_type_at_all_is_an_error_where_it_is_declared(named: Any) -> None:
    """A machine type that is empty, as of a variable that is not set, asks for no machine."""
    with pytest.raises(OptionError, match=r"'machine_type' is .*: name a machine type, or"):
        function("current", host=InProcessHost(), machine_type=named)


def test_machine_types_are_named_by_one_option() -> None:
    """Two options that name machine types are an error, and one of a change replaces the other."""
    with pytest.raises(OptionError, match="'machine_type' and 'machine_types' both say"):
        function("current", host=InProcessHost(), machine_type="XS", machine_types=["S"])
    declared = function("current", host=InProcessHost(), machine_type="XS")(len)
    listed = declared.on(machine_types=["S", "M"])
    assert listed.options.host == {"machine_types": ["S", "M"]}
    assert listed.on(machine_type="L").options.host == {"machine_type": "L"}
    assert listed.on(machine_type=None).options.host == {"machine_type": None}


def test_a_change_is_checked_as_the_declaration_is() -> None:
    """``on`` refuses an unknown machine type too."""
    declared = function("current", host=InProcessHost(), machine_type=["XS", "GPU-H100"])(len)
    with pytest.raises(UnknownMachineError):
        declared.on(machine_type="GPU-H1000")


def test_a_type_that_was_changed_later_is_refused_at_the_call() -> None:
    """Options may be changed in place after the declaration; the call checks them."""
    declared = function("current", host=InProcessHost(), machine_type="XS")(len)
    declared.options.host["machine_type"] = "GPU-H1000"
    with pytest.raises(UnknownMachineError):
        declared("abc")


def test_a_service_may_know_more_types(caplog: pytest.LogCaptureFixture) -> None:
    """Towards a host that has machine types of its own, an unknown one is a warning, once."""
    with caplog.at_level(logging.WARNING):
        declared = function("current", host=ServiceHost(), machine_type="GPU-H1000")(len)
        declared.on(max_concurrency=3)
        assert declared("abc") == 3
    assert caplog.messages == [
        "Unknown machine type 'GPU-H1000'. Did you mean 'GPU-H100'? "
        "Host 'in-process' is asked for it, and may know it."
    ]
    # The same type is still an error elsewhere.
    with pytest.raises(UnknownMachineError):
        declared.on(InProcessHost())


def test_a_type_of_a_wrong_type_is_told_as_that() -> None:
    """What is no machine type at all is refused by its type."""
    with pytest.raises(OptionTypeError, match="machine_type"):
        function("current", host=InProcessHost(), machine_type=3)
