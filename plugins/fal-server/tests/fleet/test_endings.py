"""Runners that end before they are up: the waiting client and the log get the reason."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from bare_runners import raised
from isolate_proto import HostedRun

from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.events import Event, Exited, Sealed
from fal_core_worker.opening.seals import PLAIN_PREFIX, MissingModule
from fal_core_worker.opening.values import seal_error
from fal_host_local import LocalHost
from fal_server.fleet import endings
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.endings import (
    LARGEST_ERROR,
    PrintedErrors,
    describe_outcome,
    read_agent_error,
)
from fal_server_agent.outcomes import ApplicationFailed

#: A project that ends each worker whose Python has it, before it has begun.
PROJECT = {
    "pyproject.toml": """
[build-system]
requires = []
build-backend = "builder"
backend-path = ["."]

[project]
name = "ending"
version = "1"
""",
    "builder.py": """
import zipfile

ENDING = "import os, sys; sys.orig_argv[1:3] == ['-I', '-c'] and ("
ENDING += "print('no start', file=sys.stderr, flush=True), os._exit(3))"


def build_wheel(folder, settings=None, metadata=None):
    name = "ending-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("ending.pth", ENDING)
        about = "Metadata-Version: 2.1\\nName: ending\\nVersion: 1\\n"
        wheel.writestr("ending-1.dist-info/METADATA", about)
        wheel.writestr("ending-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("ending-1.dist-info/RECORD", "")
    return name
""",
}


class Opened:
    """A value with a side effect when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_exception_of_an_agent_is_read():
    """An exception of an agent becomes a sentence, with its traceback where that is of use."""
    found = read_agent_error(raised(ValueError("It is wrong.")))
    assert found.sentence == "Its agent raised ValueError: It is wrong."
    assert "in raised" in found.traceback
    found = read_agent_error(raised(OSError("caf\udce9")))
    assert found.sentence == "Its agent raised OSError: caf?"
    assert read_agent_error(raised(KeyError())).sentence == "Its agent raised KeyError"
    found = read_agent_error(raised(MissingModule("Function 'Agent' uses module 'no'.")))
    assert (found.sentence, found.traceback) == ("Function 'Agent' uses module 'no'.", "")
    found = read_agent_error(seal_error(SystemExit(3), None))
    assert (found.sentence, found.traceback) == ("Its function ended with sys.exit(3).", "")
    found = read_agent_error(seal_error(ApplicationFailed("OSError: full"), None))
    assert (found.sentence, found.is_reported) == ("OSError: full", True)


def test_last_exception_among_printed_lines_is_found():
    """
    The last line of the last traceback is found, whether its lines come one by one or
    together, and whatever stands before and after them.
    """
    printed = PrintedErrors()
    for text in ("ValueError: no traceback", "  Traceback", ""):
        printed.take(text)
        assert printed.last == ""
    lines = [
        "ERROR:    Traceback (most recent call last):",
        '  File "a.py", line 1, in setup',
        "",
        "    raise RuntimeError",
    ]
    for line in (*lines, "RuntimeError: no weights", "OSError: no traceback"):
        printed.take(line)
    assert printed.last == "RuntimeError: no weights"
    chained = "\n".join(
        (*lines, "KeyError: 1", "", "During handling:", *lines, "LookupError", "")
    )
    printed.take(chained)
    printed.take("ERROR:    Application startup failed. Exiting.")
    assert printed.last == "LookupError"


def test_server_that_could_not_start_is_described_by_what_it_printed():
    """
    A function that exits with a number has failed by the exception that it printed, and one
    that exits with a sentence by that.
    """
    printed = "RuntimeError: no weights."
    told = "RuntimeError: no weights. Its function then ended with sys.exit(3)."
    assert read_agent_error(seal_error(SystemExit(3), None), printed).sentence == told
    outcome = CallOutcome(raised=True, type_name="SystemExit", text="3")
    assert describe_outcome(outcome, printed) == told
    assert describe_outcome(outcome) == "Its function ended with sys.exit(3)."
    found = read_agent_error(seal_error(SystemExit("no GPU"), None), printed)
    assert found.sentence == "Its function ended with sys.exit(no GPU)."


def test_message_of_an_agent_runs_no_code(tmp_path: Path):
    """
    A message of a runner is unpickled only if it consists of built-in values: the user's
    code, which runs beside the agent, cannot execute anything in the server.
    """
    data = PLAIN_PREFIX + pickle.dumps({"message": Opened(tmp_path / "made")}, 5)
    found = read_agent_error(Sealed(data))
    assert found.sentence == "Its agent raised an error that cannot be read."
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"class": "ValueError"},
        {"class": ("builtins", ["ValueError"], ()), "message": "", "traceback": ""},
        {"class": ("builtins", "ValueError", ()), "message": [[]], "traceback": ""},
    ],
)
def test_error_that_is_no_text_is_not_shown(value: object):
    """An error whose parts are something else than texts is told to be unreadable."""
    found = read_agent_error(Sealed(PLAIN_PREFIX + pickle.dumps(value, 5)))
    assert found.sentence == "Its agent raised an error that cannot be read."
    assert read_agent_error(Sealed(b"")) == found


def test_error_that_is_too_large_is_not_read():
    """
    An error of an agent that is too large is refused with its size: reading it would hold up
    the server.
    """
    assert "ValueError" in read_agent_error(raised(ValueError("x" * 100_000))).sentence
    large = raised(ValueError("x" * LARGEST_ERROR))
    found = read_agent_error(large)
    assert f"an error of {len(large.data)} bytes" in found.sentence
    assert not found.traceback


def test_run_with_a_python_that_ends_at_once(served_plane: Any, served: Any, tmp_path: Path):
    """
    If the Python of a function does not start, its caller gets how the process ended and
    the last lines that it printed.
    """
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)

    def never() -> None:
        pass

    request = HostedRun(application_name="never")
    served.fill(request, never)
    configuration = request.environments[0].configuration
    configuration.update({"requirements": [f"ending @ file://{tmp_path}"]})
    printed: list[str] = []

    def run() -> None:
        for message in served_plane.plane.stream("Run", request):
            printed.extend(line.message for line in message.logs)

    with pytest.raises(grpc.RpcError, match="exited with code 3"):
        run()
    assert "no start" in printed, "\n".join(printed)
    served_plane.settle(
        lambda: any("exited with code 3" in line for line in served_plane.lines("never"))
    )
    assert "no start" in served_plane.lines("never")


def make_application(ends: str) -> Callable[..., None]:
    """Return an application that ends before it serves."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        print("its last line", flush=True)
        if ends == "raises":
            raise ValueError("no weights")
        if ends == "exits":
            import os

            os._exit(4)

    return serve


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ("returns", "Its function returned before it served anything."),
        ("raises", "ValueError: no weights"),
        ("exits", "exited with code 4"),
    ],
)
def test_application_that_ends_before_it_serves(served_plane: Any, ends: str, sentence: str):
    """If an application does not come up, its callers and its log get the reason."""
    served_plane.deploy(ends, function=make_application(ends), attach=False)
    with served_plane.client("run") as client:
        answer = client.post(f"/owner/{ends}")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The runner could not be started. ")
    assert sentence in answer.json()["detail"]
    served_plane.settle(lambda: any(sentence in line for line in served_plane.lines(ends)))
    assert "its last line" in served_plane.lines(ends)


def test_class_with_a_failing_setup(served_plane: Any):
    """
    If the setup of a class raises, ``fal-core deploy`` prints the traceback once and fails,
    its callers and its log get the exception, and its host lists it as one that raised.
    """
    pytest.importorskip("fal_host_serverless")
    pytest.importorskip("fal_serve")
    source = """
        from fal_serve import App, endpoint


        class NoWeights(Exception):
            pass


        class Served(App):
            def setup(self) -> None:
                raise NoWeights("on the shelf")

            @endpoint("/")
            def look(self) -> int:
                return 1
    """
    failed = subprocess.run(
        **served_plane.deploying("unset", source), capture_output=True, text=True
    )
    assert failed.returncode == 1, failed.stdout
    assert failed.stdout == ""
    assert "could not be started. NoWeights: on the shelf" in failed.stderr
    assert failed.stderr.count("in setup") == 1
    assert '"traceback"' not in failed.stderr
    owner = f"The server of {served_plane.plane.settings.data}"
    served_plane.settle(lambda: _ends_of("unset", owner) == {"raised"})
    with served_plane.client("run") as client:
        answer = client.post("/owner/unset", json={})
    assert answer.status_code == 503
    assert "NoWeights: on the shelf" in answer.json()["detail"]
    served_plane.settle(lambda: "NoWeights: on the shelf" in served_plane.lines("unset"))
    told = "\n".join(served_plane.lines("unset"))
    assert "destroyed" not in told
    first = next(line for line in told.splitlines() if line.startswith("  File "))
    assert first.endswith("in setup")


def _ends_of(name: str, owner: str) -> set[str | None]:
    """Return how those runners of an application have ended that its host lists as ended."""
    listed = [each for each in LocalHost().executions() if each.owner == owner]
    return {each.end for each in listed if each.name == name and each.ended}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (WorkerLost(signal=signal.SIGKILL, function="f"), OutOfMemory),
        (OutOfMemory(signal=signal.SIGKILL, fits="M"), OutOfMemory),
        (WorkerLost(signal=signal.SIGSEGV), WorkerLost),
        (WorkerLost(1), WorkerLost),
    ],
)
def test_what_a_control_group_has_ended_is_out_of_memory(
    reason: WorkerLost, expected: type[HostError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A runner that was killed is told as out of memory by the count of its group; what its host
    knows of it stays.
    """
    taken: list[Event] = []
    for ended in (False, True):
        monkeypatch.setattr(endings, "has_ended_some", lambda name, ended=ended: ended)
        endings.telling_of_memory(taken.append, "runner-1")(Exited(reason=reason))
    before, after = taken
    assert before == Exited(reason=reason)
    assert isinstance(after, Exited)
    assert type(after.reason) is expected
    assert getattr(after.reason, "function", None) == reason.function
    assert getattr(after.reason, "fits", None) == getattr(reason, "fits", None)
