"""
Interactive runs: a function that runs again as its client changes it.

No released client calls the method: the messages are made and read here.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import grpc
import pytest
from isolate_proto import HostedRun, HostedRunStatus
from isolate_proto.controller_pb2 import InteractiveRunRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata

from fal_server.grpc import interactive_methods

SUCCESS, IN_PROGRESS = HostedRunStatus.SUCCESS, HostedRunStatus.IN_PROGRESS


@attrs.define(eq=False)
class Interaction:
    """A call that the test feeds with runs."""

    served: Any
    call: Any = None
    _sent: Any = attrs.field(factory=queue.SimpleQueue)

    def requests(self) -> Iterator[InteractiveRunRequest]:
        yield from iter(self._sent.get, None)

    def send(self, function: Callable[..., Any], **machine: Any) -> None:
        """Send a run of a function."""
        run = HostedRun(application_name="tried")
        self.served.fill(run, function)
        for name, value in {"keep_alive": 300, **machine}.items():
            setattr(run.machine_requirements, name, value)
        self._sent.put(InteractiveRunRequest(hosted_run=run))

    def send_all(self) -> None:
        """Send nothing more."""
        self._sent.put(None)

    def read(self) -> Any:
        return next(self.call).hosted_run_result

    def read_end(self) -> Any:
        """Return the last message of a run."""
        while (message := self.read()).status.state == IN_PROGRESS:
            pass
        return message

    def read_urls(self) -> Any:
        while not (message := self.read()).HasField("service_urls"):
            pass
        return message.service_urls


@pytest.fixture
def interaction(served_plane: Any, served: Any) -> Iterator[Interaction]:
    made = Interaction(served)
    with grpc.insecure_channel(served_plane.plane.address) as channel:
        made.call = IsolateControllerStub(channel).InteractiveRun(
            made.requests(), metadata=to_metadata(served_plane.plane.key)
        )
        yield made
        made.send_all()
        made.call.cancel()


def opened(message: Any) -> Any:
    assert message.status.state == SUCCESS, message
    return cloudpickle.loads(message.return_value.definition)


def make_waiting(folder: Path) -> Callable[[], None]:
    place = str(folder)

    def wait() -> None:
        import os
        import pathlib
        import time

        made = pathlib.Path(place) / "made"
        made.write_text(str(os.getpid()))
        made.rename(pathlib.Path(place) / "pid")
        while True:
            time.sleep(0.01)

    return wait


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for_pid(settle: Callable[..., None], folder: Path) -> int:
    settle((folder / "pid").exists)
    return int((folder / "pid").read_text())


def test_runs_follow_each_other(interaction: Interaction):
    """
    Each function that is sent runs, with its lines and its outcome, and the call goes on until
    the client has sent all.
    """

    def first() -> str:
        print("the first")
        return "one"

    def second() -> None:
        raise LookupError("two")

    interaction.send(first)
    messages = [interaction.read()]
    while messages[-1].status.state == IN_PROGRESS:
        messages.append(interaction.read())
    assert opened(messages[-1]) == "one"
    assert "the first" in [log.message for each in messages for log in each.logs]
    assert len({each.run_id for each in messages}) == 1
    interaction.send(second)
    message = interaction.read_end()
    assert message.return_value.was_it_raised
    assert "in second" in message.return_value.stringized_traceback
    assert message.run_id not in ("", messages[0].run_id)
    interaction.send_all()
    assert list(interaction.call) == []
    assert interaction.call.code() is grpc.StatusCode.OK


def test_run_takes_the_place_of_the_one_before_it(
    interaction: Interaction, tmp_path: Path, settle: Any
):
    """A run that is still under way is ended when another one comes."""
    interaction.send(make_waiting(tmp_path))
    pid = wait_for_pid(settle, tmp_path)
    interaction.send(lambda: "changed")
    assert opened(interaction.read_end()) == "changed"
    settle(lambda: is_gone(pid))


def make_served(word: str) -> Callable[..., None]:
    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *_: Any) -> None:
                pass

        HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def test_served_runs_have_one_address(interaction: Interaction, served_plane: Any, settle: Any):
    """What serves is reached at the same address after it was changed."""
    interaction.send(make_served("old"), exposed_port=8080)
    before = interaction.read_urls()
    interaction.send(make_served("new"), exposed_port=8080)
    assert interaction.read_urls() == before
    path = before.run.partition("://")[2].partition("/")[2]
    with served_plane.client("run") as client:
        settle(lambda: client.post(f"/{path}").text == "new")
    interaction.call.cancel()
    with served_plane.client("run") as client:
        settle(lambda: client.post(f"/{path}").status_code == 404)


def test_run_that_fails_leaves_the_call_open(interaction: Interaction):
    """A run that cannot be had, or whose runner dies, is told, and another one may follow it."""

    def die() -> None:
        import os

        os._exit(7)

    for send, sentence in [
        (lambda: interaction.send(die), "exit"),
        (lambda: interaction.send(die, max_multiplexing=0), "max_multiplexing"),
    ]:
        send()
        message = interaction.read_end()
        assert message.status.state == HostedRunStatus.INTERNAL_FAILURE
        assert sentence in message.logs[-1].message
    interaction.send(lambda: "well")
    assert opened(interaction.read_end()) == "well"
    interaction.send_all()
    assert list(interaction.call) == []


def test_call_ends_as_its_last_run_does(interaction: Interaction):
    """Where the last run could not be had, the call ends with the status that it would have alone."""
    interaction.send(lambda: "never", max_multiplexing=0)
    interaction.send_all()
    with pytest.raises(grpc.RpcError, match="max_multiplexing") as caught:
        list(interaction.call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_last_run_goes_on_when_all_is_sent(
    interaction: Interaction, tmp_path: Path, settle: Any
):
    """A client that sends no more runs gets the outcome of the last one."""
    place = str(tmp_path)

    def wait() -> str:
        import pathlib
        import time

        (pathlib.Path(place) / "begun").touch()
        while not (pathlib.Path(place) / "gate").exists():
            time.sleep(0.01)
        return "done"

    interaction.send(wait)
    interaction.send_all()
    settle((tmp_path / "begun").exists)
    (tmp_path / "gate").touch()
    assert opened(interaction.read_end()) == "done"
    assert list(interaction.call) == []


def test_caller_that_leaves_ends_the_run(interaction: Interaction, tmp_path: Path, settle: Any):
    """A call that is cancelled ends its run."""
    interaction.send(make_waiting(tmp_path))
    pid = wait_for_pid(settle, tmp_path)
    interaction.call.cancel()
    settle(lambda: is_gone(pid))


def test_client_that_sends_no_other_run(
    interaction: Interaction, monkeypatch: pytest.MonkeyPatch
):
    """A call in which nothing runs ends after a while."""
    monkeypatch.setattr(interactive_methods, "_LONGEST_PAUSE", 0.01)
    interaction.send(lambda: "done")
    assert opened(interaction.read_end()) == "done"
    with pytest.raises(grpc.RpcError, match="No run has come within") as caught:
        list(interaction.call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_client_that_sends_no_run(
    served_plane: Any, served: Any, monkeypatch: pytest.MonkeyPatch
):
    """So does one whose client never begins."""
    monkeypatch.setattr(interactive_methods, "_LONGEST_BEGINNING", 0.01)
    made = Interaction(served)
    with grpc.insecure_channel(served_plane.plane.address) as channel:
        made.call = IsolateControllerStub(channel).InteractiveRun(
            made.requests(), metadata=to_metadata(served_plane.plane.key)
        )
        with pytest.raises(grpc.RpcError, match="No run has come within"):
            list(made.call)
        made.send_all()


def test_server_that_ends_meanwhile(
    make_plane: Callable[..., Any], served: Any, tmp_path: Path, settle: Any
):
    """The call ends with an error, and so does its run."""
    plane = make_plane()
    made = Interaction(served)
    made.send(make_waiting(tmp_path))
    with grpc.insecure_channel(plane.address) as channel:
        made.call = IsolateControllerStub(channel).InteractiveRun(
            made.requests(), metadata=to_metadata(plane.key)
        )
        pid = wait_for_pid(settle, tmp_path)
        plane.close()
        with pytest.raises(grpc.RpcError):
            list(made.call)
        made.send_all()
    settle(lambda: is_gone(pid))
