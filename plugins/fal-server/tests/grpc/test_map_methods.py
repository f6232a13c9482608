"""
Maps: a function that is called with each of many inputs.

No released client calls the method: the messages are made and read here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import grpc
import pytest
from isolate_proto import HostedMap, HostedRunStatus, KillRunnerRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata

from fal_server.grpc import map_methods
from fal_server.limits import Limits

SUCCESS, IN_PROGRESS = HostedRunStatus.SUCCESS, HostedRunStatus.IN_PROGRESS


def square(number: int) -> int:
    print(f"squaring {number}")
    if number == 3:
        raise LookupError("not three")
    return number * number


def make_map(served: Any, function: Callable[[Any], Any], inputs: Any, **machine: Any) -> Any:
    request = HostedMap()
    served.fill(request, function)
    settings = {"keep_alive": 300, "max_concurrency": 2, **machine}
    for name, value in settings.items():
        setattr(request.machine_requirements, name, value)
    for each in inputs:
        request.inputs.add(method="cloudpickle", definition=cloudpickle.dumps(each))
    return request


def results_of(messages: list[Any]) -> list[Any]:
    """Return the last message of each input."""
    return [each for each in messages if each.status.state != IN_PROGRESS]


def opened(message: Any) -> Any:
    assert message.status.state == SUCCESS, message
    return cloudpickle.loads(message.return_value.definition)


@attrs.define
class Gates:
    """Files by which a function and a test signal each other."""

    folder: Path

    def open(self, name: str) -> None:
        (self.folder / name).touch()

    @property
    def order(self) -> list[list[str]]:
        """What calls have done, in order: "begun" or "ended", the name, and the process."""
        file = self.folder / "order"
        return [each.split() for each in file.read_text().splitlines()] if file.exists() else []

    @property
    def begun(self) -> list[str]:
        return sorted(name for what, name, _ in self.order if what == "begun")

    @property
    def before_a(self) -> list[str]:
        """What had begun when *a* ended."""
        done = [(what, name) for what, name, _ in self.order]
        return [name for what, name in done[: done.index(("ended", "a"))] if what == "begun"]

    @property
    def pids(self) -> set[int]:
        return {int(pid) for _, _, pid in self.order}


def wait_at_gate(told: tuple[str, str]) -> str:
    import os
    import pathlib
    import time

    folder, name = told

    def tell(what: str) -> None:
        with (pathlib.Path(folder) / "order").open("a") as order:
            order.write(f"{what} {name} {os.getpid()}\n")

    tell("begun")
    while not (pathlib.Path(folder) / name).exists():
        time.sleep(0.01)
    tell("ended")
    return name


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


def test_results_come_in_the_order_of_the_inputs(served_plane, served):
    """
    Each input has one result, in the order of the inputs; an exception of one has its
    traceback and leaves the others alone; lines name the run of the input that printed them.
    """
    messages = list(served_plane.plane.stream("Map", make_map(served, square, [1, 2, 3, 4])))
    first, results = messages[0], results_of(messages)
    assert first.run_id
    assert first.env_id
    assert {each.env_id for each in messages} == {first.env_id}
    assert [each.run_id for each in results] == [f"{first.run_id}-{n}" for n in range(4)]
    assert [opened(each) for each in results[:2] + results[3:]] == [1, 4, 16]
    raised = results[2].return_value
    assert raised.was_it_raised
    assert (raised.exception_type_name, raised.exception_message) == (
        "LookupError",
        "not three",
    )
    assert "in square" in raised.stringized_traceback
    printed = {
        (each.run_id, log.message)
        for each in messages
        for log in each.logs
        if log.message.startswith("squaring")
    }
    assert printed == {(f"{first.run_id}-{n}", f"squaring {n + 1}") for n in range(4)}


def test_inputs_run_at_once_on_as_many_runners_as_are_asked_for(served_plane, served, gates):
    """
    As many inputs run at once as there may be runners; a result that is there early waits for
    those before it, and its runner goes on with other inputs.
    """
    inputs = [(str(gates.folder), name) for name in "abc"]
    messages = served_plane.plane.stream("Map", make_map(served, wait_at_gate, inputs))
    assert next(messages).status.state == IN_PROGRESS
    served_plane.settle(lambda: gates.begun == ["a", "b"])
    gates.open("b")
    served_plane.settle(lambda: "c" in gates.begun)
    gates.open("c")
    gates.open("a")
    assert [opened(each) for each in results_of([*messages])] == ["a", "b", "c"]


def test_inputs_that_wait_are_bounded(served_plane, served, gates, monkeypatch):
    """Where the first input takes long, only so many of the others begin meanwhile."""
    monkeypatch.setattr(map_methods, "_AHEAD", 2)
    inputs = [(str(gates.folder), name) for name in "abcdefgh"]
    for name in "bcdefgh":
        gates.open(name)
    request = make_map(served, wait_at_gate, inputs, max_concurrency=2)
    messages = served_plane.plane.stream("Map", request)
    next(messages)
    served_plane.settle(lambda: len(gates.begun) == 4)
    gates.open("a")
    assert [opened(each) for each in results_of([*messages])] == list("abcdefgh")
    assert sorted(gates.before_a) == list("abcd")


def test_large_results_that_wait_are_bounded(served_plane, served, gates, monkeypatch):
    """No input begins while the results that wait have too many bytes."""
    monkeypatch.setattr(map_methods, "_LARGEST_WAITING", 1)
    inputs = [(str(gates.folder), name) for name in "abcd"]
    for name in "bcd":
        gates.open(name)
    messages = served_plane.plane.stream("Map", make_map(served, wait_at_gate, inputs))
    next(messages)
    served_plane.settle(lambda: "b" in gates.begun)
    gates.open("a")
    assert [opened(each) for each in results_of([*messages])] == list("abcd")
    assert sorted(gates.before_a) == ["a", "b"]


def test_runner_that_dies_costs_its_input_alone(served_plane, served):
    """The result of an input whose runner dies says so, and others come."""

    def die_at_two(number: int) -> int:
        import os

        if number == 2:
            os._exit(7)
        return number

    request = make_map(served, die_at_two, [1, 2, 3], max_concurrency=1)
    first, second, third = results_of([*served_plane.plane.stream("Map", request)])
    assert (opened(first), opened(third)) == (1, 3)
    assert second.status.state == HostedRunStatus.INTERNAL_FAILURE
    assert second.logs[-1].message
    assert not second.HasField("return_value")


def test_input_that_cannot_be_opened(served_plane, served):
    """What opening an input raises is its result."""
    request = make_map(served, square, [1])
    request.inputs.add(method="no_such_module", definition=b"")
    request.inputs.add(method="", definition=cloudpickle.dumps(2))
    first, second, third = results_of([*served_plane.plane.stream("Map", request)])
    assert (opened(first), opened(third)) == (1, 4)
    assert second.return_value.exception_type_name == "ModuleNotFoundError"


def test_entry_point(served_plane, served):
    """The function may be one that an entry point names."""
    request = make_map(served, square, [-1, 2])
    request.entrypoint = "builtins:abs"
    results = results_of([*served_plane.plane.stream("Map", request)])
    assert [opened(each) for each in results] == [1, 2]


def test_no_inputs(served_plane, served):
    """Nothing is called, and the call ends well."""
    [message] = served_plane.plane.stream("Map", make_map(served, square, []))
    assert message.status.state == IN_PROGRESS


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (lambda it: it.ClearField("function"), "INVALID_ARGUMENT", "entry point is required"),
        (
            lambda it: setattr(it.machine_requirements, "exposed_port", 80),
            "INVALID_ARGUMENT",
            "serves on a port",
        ),
        (
            lambda it: setattr(it.machine_requirements, "max_multiplexing", 0),
            "INVALID_ARGUMENT",
            "max_multiplexing",
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(served_plane, served, change, code, sentence):
    """A request that makes no sense is refused before anything runs."""
    request = make_map(served, square, [1])
    change(request)
    with pytest.raises(grpc.RpcError, match=sentence) as caught:
        list(served_plane.plane.stream("Map", request))
    assert caught.value.code().name == code


def test_too_many_inputs(make_plane, served):
    """More inputs than a call may have are refused, with the option that allows more."""
    plane = make_plane(limits=Limits(most_inputs=2))
    with pytest.raises(grpc.RpcError, match="--most-inputs") as caught:
        list(plane.stream("Map", make_map(served, square, [1, 2, 3])))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_function_without_an_environment(served_plane, served):
    """Where no runner can start, the call ends as that of one run does."""
    request = make_map(served, square, [1, 2])
    request.environments[0].configuration["requirements"] = ["./no-such-thing"]
    with pytest.raises(grpc.RpcError) as caught:
        list(served_plane.plane.stream("Map", request))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_caller_that_leaves_ends_its_runners(served_plane, served, gates):
    """A call that is cancelled ends the runners of all its inputs, and no other input begins."""
    inputs = [(str(gates.folder), name) for name in "abcd"]
    with grpc.insecure_channel(served_plane.plane.address) as channel:
        call = IsolateControllerStub(channel).Map(
            make_map(served, wait_at_gate, inputs), metadata=to_metadata(served_plane.plane.key)
        )
        served_plane.settle(lambda: len(gates.begun) == 2)
        call.cancel()
        served_plane.settle(lambda: all(map(is_gone, gates.pids)))
    assert gates.begun == ["a", "b"]
    served_plane.settle(lambda: not served_plane.plane.plane.launcher.echoes)


def test_input_is_stopped_by_the_id_of_its_run(served_plane, served, gates):
    """The runner of one input can be killed by the id that its messages have."""
    inputs = [(str(gates.folder), name) for name in "ab"]
    messages = served_plane.plane.stream("Map", make_map(served, wait_at_gate, inputs))
    map_id = next(messages).run_id
    served_plane.settle(lambda: len(gates.begun) == 2)
    served_plane.plane.call("KillRunner", KillRunnerRequest(runner_id=f"{map_id}-0"))
    gates.open("b")
    first, second = results_of([*messages])
    assert first.status.state == HostedRunStatus.INTERNAL_FAILURE
    assert opened(second) == "b"


def test_server_that_ends_meanwhile(make_plane, served, gates, settle):
    """The call ends with an error, and so do its runners."""
    plane = make_plane()
    inputs = [(str(gates.folder), name) for name in "ab"]
    codes: list[grpc.StatusCode] = []

    def call() -> None:
        try:
            list(plane.stream("Map", make_map(served, wait_at_gate, inputs)))
        except grpc.RpcError as error:
            codes.append(error.code())

    caller = threading.Thread(target=call)
    caller.start()
    settle(lambda: len(gates.begun) == 2)
    plane.close()
    caller.join()
    assert len(codes) == 1
    assert codes[0] is not grpc.StatusCode.OK
    settle(lambda: all(map(is_gone, gates.pids)))
