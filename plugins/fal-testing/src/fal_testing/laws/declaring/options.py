"""Laws of options: a host keeps the options that it cannot use, and runs the function."""

from __future__ import annotations

from typing import Any

from fal_core import function
from fal_core.errors import OptionTypeError, UnknownOptionError
from fal_core.hooks import hookimpl
from fal_core.hosts import Host
from fal_core.machines import Machine, UnknownMachineError
from fal_core.plugins import registered
from fal_testing.harness.expectations import expect, expect_error, result_of
from fal_testing.harness.marks import Isolated
from fal_testing.hosts.in_process import InProcessHost

#: Options for other hosts, harmless on a host that acts on them.
OTHERS: dict[str, Any] = {
    "metadata": {"law": ["kept"]},
    "private_logs": True,
    "request_timeout": 3600,
    "exposed_port": 8123,
}


class _Catalogue:
    """A plugin that knows one machine type."""

    fal_core_api = 1

    @hookimpl
    def fal_list_machines(self) -> list[Machine]:
        return [Machine(name="law-machine")]

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return Machine(name=machine_type) if machine_type == "law-machine" else None


def test_options_are_kept_on_the_way(host: Host[..., Any]) -> None:
    """A function that is moved to this host and away again keeps all its options."""

    @function("current", host=InProcessHost(), machine_type="M", **OTHERS)
    def give() -> int:
        return 1

    here = give.on(host)
    look = "Let parse_key return every key: options of other hosts stay with the function."
    assert here.host is host, f"on(host) gave a function of {here.host!r}, not of the host."
    expect(here.options, give.options, "The options of a function on this host", look)
    back = here.on(InProcessHost()).options
    expect(back, give.options, "The options of a function that was here and left", look)


def test_options_that_are_of_no_use_stop_nothing(isolated: Isolated) -> None:
    """A function runs regardless of its options for other hosts."""

    @isolated(**OTHERS)
    def give() -> int:
        return 1

    if give.make_launcher().environment.isolates_network:
        # A host that leads no port there refuses a server.
        give = give.on(exposed_port=None)
    look = f"Act on what you know, and ignore other options: {', '.join(OTHERS)}."
    expect(give(), 1, "The result of a function with options for other hosts", look)


def test_an_unknown_option_is_refused_where_it_is_written(host: Host[..., Any]) -> None:
    """A misspelt option is an error with a suggestion, before anything is launched."""
    look = "Inherit parse_options, and let parse_key return unknown keys as they are."
    with expect_error(UnknownOptionError, look, match="keep_alive"):
        function("current", host=host, options={"keep_alife": 3})


def test_an_option_of_a_wrong_type_is_refused_where_it_is_written(
    host: Host[..., Any],
) -> None:
    """An option of a wrong type is an error that names it, before anything is launched."""
    look = "Inherit parse_options, which checks types by the annotations of the options."
    with expect_error(OptionTypeError, look, match="keep_alive"):
        function("current", host=host, options={"keep_alive": "long"})


def test_an_unknown_machine_type_is_refused_where_it_is_written(
    host: Host[..., Any],
) -> None:
    """
    Where a plugin lists machine types, one that nobody knows is an error with a suggestion,
    before anything is launched; on a host with types of its own, it is accepted.
    """
    with registered(_Catalogue()):
        if host.capabilities.own_machines:
            function("current", host=host, machine_type="law-machin")
            return
        look = "Claim own_machines where the place may know machine types that plugins do not."
        with expect_error(UnknownMachineError, look, match="'law-machine'"):
            function("current", host=host, machine_type="law-machin")
        function("current", host=host, machine_type=["law-machine", "XS"])


def test_the_documented_ways_of_a_host_run_functions(
    host: Host[..., Any], kind: str, kind_options: dict[str, Any], law_timeout: float
) -> None:
    """``parse_options``, ``run`` and ``spawn`` of the host itself run a plain function."""

    def add(first: int, second: int = 0) -> int:
        return first + second

    options = host.parse_options(kind=kind, **kind_options)
    look = "Write launch alone, and inherit run and spawn."
    expect(host.run(add, options, (1,), {"second": 2}), 3, "The result of host.run", look)
    info = host.spawn(add, options, (3,), {"second": 4})
    found = result_of(info.future, law_timeout, "host.spawn")
    expect(found, 7, "The result of host.spawn", look)
