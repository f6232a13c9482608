"""Machine types that requests name: whether the server knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from isolate_proto import BuildEnvironmentRequest, HostedRun, MachineRequirements

from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_server.errors import Invalid
from fal_server.specs.machine_types import check_machine_types

SENTENCE = "Unknown machine type 'GPU-H1000'. Did you mean 'GPU-H100'?"


class Catalogue:
    """A plugin that knows one machine type, and fails for another."""

    fal_core_api = 1

    @hookimpl
    def fal_list_machines(self) -> list[Machine]:
        return [Machine(name="GPU-H100")]

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        if machine_type == "GPU-BROKEN":
            raise OptionError("machines.toml is wrong.")
        return Machine(name=machine_type) if machine_type == "GPU-H100" else None


@pytest.fixture
def known() -> Iterator[None]:
    with registered(Catalogue()):
        yield


@pytest.mark.parametrize(
    "requirements",
    [
        {"machine_type": "GPU-H1000"},
        {"machine_types": ["GPU-H1000"]},
        {"machine_type": "XS", "machine_types": ["XS", "GPU-H1000"]},
    ],
    ids=str,
)
def test_an_unknown_machine_type_is_refused(known: None, requirements: Any) -> None:
    """Of all machine types that a request names, none may be unknown."""
    with pytest.raises(Invalid) as caught:
        check_machine_types(MachineRequirements(**requirements), ())
    assert str(caught.value) == SENTENCE


def test_known_machine_types_are_accepted(known: None) -> None:
    """Those that a plugin knows or the server has a limit for are accepted, and so is none."""
    for machine_type in ("", "XS", "GPU-H100", "BIG"):
        check_machine_types(MachineRequirements(machine_type=machine_type), {"BIG": 1 << 30})


def test_machine_types_are_few(known: None) -> None:
    """A request names so many machine types that each can be looked for."""
    named = MachineRequirements(machine_types=["XS"] * 1000)
    check_machine_types(named, ())
    many = MachineRequirements(machine_types=[f"GPU-{number}" for number in range(101)])
    with pytest.raises(Invalid, match="may name 100 machine types, and this names more"):
        check_machine_types(many, {f"GPU-{number}": 1 for number in range(101)})


def test_what_is_wrong_on_the_server_is_told(known: None) -> None:
    """Where what declares machine types is wrong, the request is refused with the reason."""
    with pytest.raises(Invalid, match=r"machines\.toml is wrong"):
        check_machine_types(MachineRequirements(machine_type="GPU-BROKEN"), ())


def test_all_requests_that_name_machine_types_are_checked(
    known: None, served_plane: Any, served: Any, holder: Any
) -> None:
    """A run, a build, a deployment and a change of its settings are refused at once."""
    machine = MachineRequirements(machine_types=["GPU-H1000"])
    run = HostedRun(application_name="run", machine_requirements=machine)
    served.fill(run, len)
    build = BuildEnvironmentRequest(environments=run.environments, machine_requirements=machine)
    asks = [
        lambda: list(served_plane.plane.stream("Run", run)),
        lambda: list(served_plane.plane.stream("BuildEnvironment", build)),
        lambda: holder.deploy("held", machine_type="GPU-H1000"),
    ]
    holder.deploy("scaled", machine_type="XS")
    asks.append(lambda: holder.set("scaled", machine_types=["XS", "GPU-H1000"]))
    for ask in asks:
        with pytest.raises(grpc.RpcError) as caught:
            ask()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == SENTENCE
