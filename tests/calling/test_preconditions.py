"""Preconditions: a call is refused before anything is done, for the reasons of ``explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.abilities import AnticipatingHost
from fal_core.calling.preconditions import for_machine
from fal_core.calls import Call
from fal_core.environments import (
    CurrentEnvironment,
    Environment,
    Interpreter,
    LocalInterpreter,
)
from fal_core.errors import FalCoreError, OptionError, UnsupportedError
from fal_core.events import LogSink, Sink
from fal_core.explanations import explain
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities
from fal_core.machines import Machine
from fal_core.options import Gateway, HostOptions
from fal_core.plugins import registered
from fal_core.sinks import breaches
from fal_core.wrappers import WrapperHost
from fal_testing.hosts.in_process import InProcessHost
from fal_testing.hosts.in_process_calls import InProcessExecution


@attrs.define(eq=False, slots=False)
class Little(InProcessHost):
    """A host that can do little, and counts its launches."""

    name: ClassVar[str] = "little"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=frozenset({"current"}), batch=True, same_python=True
    )

    launched: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        self.launched += 1
        return super().launch(call, sink)

    def expect(self, *_: Any) -> None:
        self.launched += 1

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        if options.regions == ("moon",):
            raise OptionError("There is no region 'moon'.")


@attrs.define(eq=False, slots=False)
class OfPython2(Little):
    """A host without a Python that functions could run on."""

    name: ClassVar[str] = "python-2"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=None, python_versions=("2.6", "2.7")
    )


@attrs.define(eq=False, slots=False)
class Three(Little):
    """A host of three nodes."""

    name: ClassVar[str] = "three"
    capabilities: ClassVar[Capabilities] = attrs.evolve(Little.capabilities, nodes=3)


@attrs.define(eq=False, slots=False)
class Hasty(InProcessHost, AnticipatingHost):
    """A host that raises as a call is announced."""

    name: ClassVar[str] = "hasty"

    def expect(self, *_: Any) -> None:
        raise LookupError("no place")


@attrs.define(eq=False, slots=False)
class Around(WrapperHost[..., Any]):
    """A host that adds nothing."""

    name: ClassVar[str] = "around"

    def launch(self, call: Call, sink: Sink) -> Any:
        return self.inner.launch(call, sink)


def give(number: int = 1) -> int:
    return 1


def count() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("func", "options", "sentence"),
    [
        (count, {}, "Host 'little' cannot stream what a generator yields. Return a list."),
        (give, {"secrets": ["TOKEN"]}, "Host 'little' cannot resolve secrets."),
        (give, {"serve": True}, "Host 'little' cannot serve functions."),
        (give, {"regions": ["moon"]}, "There is no region 'moon'."),
        (
            give,
            {"nodes": 2},
            "Host 'little' cannot run a call on 2 nodes. It runs each on one: leave 'nodes' "
            "out, or use a host that has more.",
        ),
        (
            give,
            {"keep_alive": 3, "on_unsupported": "error"},
            "Host 'little' cannot use option 'keep_alive'. Leave it out, or write "
            "on_unsupported='warn' to keep it for other hosts.",
        ),
    ],
)
def test_a_call_is_refused_as_it_is_explained(
    func: Any, options: dict[str, Any], sentence: str
) -> None:
    """A call that the host cannot run is refused with the reason of ``explain``, unlaunched."""
    host = Little()
    isolated = function("current", host=host, **options)(func)
    assert sentence in explain(isolated).reasons
    ways = [isolated, isolated.spawn]
    if func is not count and not options.get("serve"):
        # A served function is refused there whatever its host can do.
        ways += [isolated.submit, lambda: isolated.map(range(1))]
    for call in ways:
        with pytest.raises(FalCoreError) as caught:
            call()
        assert str(caught.value) == sentence
    assert host.launched == 0


def test_a_call_of_more_nodes_than_there_are_is_refused_whatever_is_allowed() -> None:
    """On fewer nodes a function gives wrong results, so no ``on_unsupported`` lets it run there."""
    host = Three()
    for how in ("ignore", "warn", "error"):
        isolated = function("current", host=host, nodes=4, on_unsupported=how)(give)
        with pytest.raises(UnsupportedError, match=r"on 4 nodes\. It runs each on 3 at most"):
            isolated()
    assert host.launched == 0


def test_one_node_is_what_every_host_has(capsys: pytest.CaptureFixture[str]) -> None:
    """A function that is declared for one node runs on every host, without a warning."""
    isolated = function("current", host=Little(), nodes=1)(give)
    assert isolated() == 1
    assert capsys.readouterr().err == ""
    assert {option.name: option.use for option in explain(isolated).options}[
        "nodes"
    ] == "applies"


def test_a_host_without_the_python_refuses() -> None:
    """A host that has only other Pythons says which."""
    host = OfPython2()
    isolated = function("current", host=host)(give)
    with pytest.raises(UnsupportedError, match=r"cannot run Python 3\.\d+\. It runs 2\.6, 2"):
        isolated()
    assert host.launched == 0
    assert not explain(isolated).runs


def test_a_wrapper_host_refuses_with_its_inner_host() -> None:
    """A wrapper host refuses what its inner host refuses."""
    isolated = function("current", host=Around(Little()), regions=["moon"])(give)
    assert explain(isolated).reasons == ("There is no region 'moon'.",)
    with pytest.raises(OptionError, match="no region 'moon'"):
        isolated()


def test_options_of_other_hosts_are_no_reason_to_refuse() -> None:
    """Options of other hosts, a port among them, stop no call, and are explained as kept."""
    host = Little()
    isolated = function("current", host=host, regions=["eu"], exposed_port=8123)(give)
    explanation = explain(isolated)
    assert explanation.runs
    assert {option.name: option.use for option in explanation.options}["exposed_port"] == "kept"
    assert host.launched == 0
    assert isolated() == 1


def test_a_host_that_fails_to_expect_a_call_runs_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``expect`` raises is logged once with the name of the host, and stops no call."""
    monkeypatch.setattr(breaches, "_told", set())
    host = Hasty()
    assert [function("current", host=host)(give)() for _ in range(2)] == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "Host 'hasty': expect() raised LookupError: no place. Let it raise nothing: the call "
        "that follows says what is wrong."
    ]


def test_work_that_cannot_be_detached_is_noted() -> None:
    """A function whose spawns are refused can still be called, and the explanation says both."""
    isolated = function("current", host=Little(), lifetime="detached")(give)
    explanation = explain(isolated)
    assert explanation.runs
    with pytest.raises(UnsupportedError) as caught:
        isolated.spawn()
    assert any(note.endswith(str(caught.value)) for note in explanation.notes)
    assert isolated() == 1


@attrs.frozen(kw_only=True)
class Fitted(Environment):
    """An environment that says which machine it is for."""

    kind: ClassVar[str] = "fitted"

    machine: str = ""

    @property
    def key(self) -> str:
        return f"fitted\0{self.machine}"

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        return LocalInterpreter(sys.executable)

    def extend(self, requirements: Iterable[str]) -> Fitted:
        return self

    def for_machine(self, machine: Machine) -> Fitted:
        return Fitted(machine=f"{machine.name} with {machine.gpus}")


class Types:
    """A plugin with a machine type that has two GPUs."""

    fal_core_api = 1

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return Machine(name="DOUBLE", gpus=2) if machine_type == "DOUBLE" else None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ""),
        ({"machine_type": "DOUBLE"}, "DOUBLE with 2"),
        ({"machine_type": ["DOUBLE", "S"]}, "DOUBLE with 2"),
        ({"machine_type": "DOUBLE", "num_gpus": 1}, "DOUBLE with 1"),
        ({"machine_type": "NO-SUCH-TYPE"}, ""),
    ],
)
def test_environment_is_built_for_the_machine_type(options: dict[str, Any], says: str) -> None:
    """A kind that builds for machines is told the first machine type, and how many GPUs."""
    written = HostOptions(**options)
    with registered(Types()):
        assert for_machine(Fitted(), written) == Fitted(machine=says)
        current = CurrentEnvironment()
        assert for_machine(current, written) is current
