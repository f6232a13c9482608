"""Specs: what a runner runs, read from a request."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from isolate_proto import HostedRun, RegisterApplicationRequest

from fal_core_worker.serving.services import SOCKET_MARK
from fal_server.errors import Invalid
from fal_server.specs.runner_specs import check_name, read_spec


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "a/b", "a" * 129, "a\x1b[2J", "a\x9b", "a\u202e", "a\n"),
        *("-rf", "--all", ".", "..", "p\u0430yment", "gro\u0308\u00dfe", "a\u200bb", "\uff41"),
        *("a@b", "a:b", "a;b", "a'b", "a*"),
    ],
)
def test_invalid_name_of_an_application(name: str):
    """
    A name that looks like another, that a command line takes for an option or a URL for
    something else is refused. The error shows it as it is, and says which names are valid.
    """
    with pytest.raises(Invalid, match=r"letters from a to z, digits") as caught:
        check_name(name)
    assert str(caught.value).startswith(ascii(name)[:100])
    assert str(caught.value).isascii()


@pytest.mark.parametrize("name", ["a.b-c_d", "_own", "4x", "A", "app--dev", "a" * 128])
def test_valid_name_of_an_application(name: str):
    """A name has letters, digits, points, dashes and underscores."""
    assert check_name(name) == name


def test_name_of_a_function():
    """
    A function that is run may have any name that Python knows, but none that a log cannot
    show.
    """
    for name in ("größe", "<lambda>", "_"):
        assert read_spec(make_run(application_name=name), "me").name == name
    with pytest.raises(Invalid, match="cannot be the name of a function"):
        read_spec(make_run(application_name="a\x1b[2J"), "me")


@pytest.mark.parametrize("mount", ["/", "/etc", "data", "/data/../etc", "/database", ""])
def test_mounts_outside_of_data_are_refused(served_plane, mount):
    """Only ``/data`` and directories below it can be mounted."""

    def nothing() -> None:
        pass

    with pytest.raises(Exception, match="/data"):
        served_plane.run(nothing, change=lambda request: request.data_mounts.append(mount))


def make_run(**fields: Any) -> HostedRun:
    """Return a run of a function, in an environment without requirements."""
    run = HostedRun(**fields)
    run.environments.add(kind="virtualenv")
    if run.WhichOneof("callable") is None:
        run.function.method = "dill"
        run.function.definition = b"function"
    return run


def test_spec_of_a_run():
    """
    A run that says nothing else is a function of the default stage, with all exposed
    secrets.
    """
    spec = read_spec(make_run(), "user|1")
    assert (spec.name, spec.owner, spec.stage) == ("function", "user|1", "main")
    assert (spec.method, spec.definition, spec.entrypoint) == ("dill", b"function", "")
    assert (spec.port, spec.health_check, spec.startup_timeout) == (None, None, None)
    assert (spec.secrets, spec.files, spec.mounts) == (None, (), ())
    assert (spec.main_thread, spec.grace, spec.private_logs) == (None, 5.0, False)


def test_spec_of_a_registration():
    """All that a registration asks for stands in the spec."""
    request = RegisterApplicationRequest(
        application_name="app",
        environment_name="dev",
        entrypoint="package:App",
        termination_grace_period_seconds=0,
        private_logs=True,
        data_mounts=["/data", "/data/models"],
        retry_config='{"timeout": {"retries": 2}}',
        run_on_main_thread=False,
    )
    request.environments.add(kind="virtualenv")
    request.secrets.SetInParent()
    request.files.add(hash="a" * 64, relative_path="a/b")
    machine = request.machine_requirements
    machine.machine_types.extend(["M", "S"])
    machine.exposed_port, machine.startup_timeout = 8080, 7
    request.health_check_config.path = "/health"
    spec = read_spec(request, "user|1")
    assert (spec.name, spec.stage, spec.entrypoint) == ("app", "dev", "package:App")
    assert (spec.method, spec.definition, spec.main_thread) == ("", b"", False)
    assert (spec.machine_type, spec.port, spec.startup_timeout) == ("M", 8080, 7)
    assert (spec.grace, spec.private_logs) == (0.0, True)
    assert (spec.secrets, spec.files) == ((), (("a" * 64, "a/b"),))
    assert spec.mounts == ("/data", "/data/models")
    assert spec.retries.budgets == {"timeout": 2}
    header, parts = spec.message
    assert header["health_check"]["path"] == "/health"
    assert (header["port"], header["entrypoint"], parts) == (8080, "package:App", [b"", b""])


def test_message_of_an_agent_has_the_functions():
    """
    An agent is sent the functions as their client has serialized them; a spec that is kept
    for longer is without them.
    """
    run = make_run()
    run.setup_func.method, run.setup_func.definition = "pickle", b"setup"
    spec = attrs.evolve(read_spec(run, "user|1"), variables={"A": "hidden"})
    header, parts = spec.message
    assert (header["method"], header["setup_method"]) == ("dill", "pickle")
    assert header["variables"] == {"A": "hidden"}
    assert parts == [b"function", b"setup"]
    assert spec.bare().message == (header, [b"", b""])
    for text in ("hidden", "b'function'", "b'setup'"):
        assert text not in repr(spec)


def test_run_that_is_not_complete():
    """A run needs a function or an entry point, and a setup function goes with a function."""
    run = make_run(entrypoint="package:App")
    run.setup_func.definition = b"setup"
    with pytest.raises(Invalid, match="A setup function goes with a function"):
        read_spec(run, "user|1")
    run.ClearField("entrypoint")
    run.ClearField("setup_func")
    with pytest.raises(Invalid, match="A function or an entry point is required"):
        read_spec(run, "user|1")


@pytest.mark.parametrize("marked", [False, True])
def test_function_that_takes_a_socket(marked):
    """Whether a function takes a Unix socket is seen in its serialized form, unopened."""
    run = make_run()
    if marked:
        run.function.definition = b"function " + SOCKET_MARK.encode() + b" and more"
    spec = read_spec(run, "user|1")
    assert spec.takes_socket is marked
    assert spec.bare().takes_socket is marked


@pytest.mark.parametrize(
    ("named", "types"),
    [
        ({}, ()),
        ({"machine_type": "XS"}, ("XS",)),
        ({"machine_type": "M", "machine_types": ["S", "L"]}, ("S", "L")),
        ({"machine_type": "M", "machine_types": ["", "S", "L", "S"]}, ("S", "L")),
        ({"machine_types": [""]}, ()),
    ],
    ids=str,
)
def test_machine_types_of_a_run(named: Any, types: tuple[str, ...]):
    """The list of machine types counts where there is one, each once, and none is empty."""
    spec = read_spec(make_run(machine_requirements=named), "me")
    assert spec.machine_types == types
    assert spec.machine_type == (types[0] if types else "")


def test_fewer_gpus_than_none():
    """A negative number of GPUs is refused."""
    with pytest.raises(Invalid, match="num_gpus must not be negative, and is -1"):
        read_spec(make_run(machine_requirements={"num_gpus": -1}), "me")
    assert read_spec(make_run(machine_requirements={"num_gpus": 0}), "me").num_gpus == 0
