"""Services outside a worker: what hosts do there, the terminal does here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from typing import Any

import pytest

from fal_core_worker import current
from fal_core_worker.serving import services

#: Seconds that anything may take.
PATIENCE = 30


@pytest.fixture(autouse=True)
def _outside_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    # A call that another test has left on a thread makes a worker of this process.
    monkeypatch.setattr(current, "runtime", None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_a_service(number: signal.Signals) -> None:
    """An interrupt drains, and everything is as it was once the service has ended."""

    def handle(*_: object) -> None: ...

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    loop, drained = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(drained.wait(), PATIENCE)

    try:
        services.run(serve(), loop, drained.set)
        assert all(signal.getsignal(each) is handle for each in before)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert drained.is_set()
    assert loop.is_closed()


def test_what_a_service_raises_is_raised() -> None:
    """The loop is closed and signals are handled as before, however a service ends."""
    before, loop = signal.getsignal(signal.SIGINT), asyncio.new_event_loop()

    async def serve() -> None:
        raise services.StartupError("no port")

    with pytest.raises(services.StartupError, match="no port"):
        services.run(serve(), loop, lambda: None)
    assert loop.is_closed()
    assert signal.getsignal(signal.SIGINT) == before


def test_urls_and_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """URLs and warnings are printed to the standard error, other lines to the output."""
    services.announce({"run": "http://127.0.0.1:1", "metrics": "http://127.0.0.1:2"})
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        services.write(level, level.lower())
    services.end_request()
    out, errors = capsys.readouterr()
    assert out == "debug\ninfo\n"
    assert errors == ("run: http://127.0.0.1:1\nmetrics: http://127.0.0.1:2\nwarning\nerror\n")


def test_facts_are_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A line has the time first, in UTC, and text for what JSON does not know."""
    services.log("INFO", {"path": "/", "status": 200, "error": LookupError("gone")})
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["time", "path", "status", "error"]
    assert told["error"] == "gone"
    assert told["time"].endswith("Z")
    assert len(told["time"]) == len("2026-01-31T23:59:00.000Z")


class Output:
    """Keeps what is written, and the lines that were ended."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.ended = 0

    def write(self, level: str, line: str, logger: str | None = None) -> None:
        self.lines.append((level, line))

    def end_lines(self) -> None:
        self.ended += 1


class HostedRuntime:
    """The runtime of a process in which a host runs calls."""

    address = None

    def __init__(self) -> None:
        self.output = Output()
        self.urls: list[dict[str, str]] = []
        self.ran: list[Any] = []

    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def find_node(self) -> None: ...

    def run_service(self, service: Any, loop: Any, drain: Any) -> None:
        self.ran.append(drain)
        loop.run_until_complete(service)
        loop.close()

    def announce(self, urls: dict[str, str]) -> None:
        self.urls.append(urls)


def test_where_a_host_runs_calls_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker the runtime runs the service, and takes its URLs and its lines."""
    runtime = HostedRuntime()
    monkeypatch.setattr(current, "runtime", runtime)
    ended = threading.Event()

    async def serve() -> None:
        services.announce({"run": "http://127.0.0.1:1"})
        services.write("ERROR", "line")
        services.end_request()
        ended.set()

    services.run(serve(), asyncio.new_event_loop(), ended.clear)
    assert ended.is_set()
    assert len(runtime.ran) == 1
    assert runtime.urls == [{"run": "http://127.0.0.1:1"}]
    assert runtime.output.lines == [("ERROR", "line")]
    assert runtime.output.ended == 1


def test_a_thread_of_no_call_prints_what_it_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process that runs calls on some of its threads, the others have no log of a call."""

    class Runtime:
        @property
        def output(self) -> Any:
            raise RuntimeError("This thread runs no call.")

    monkeypatch.setattr(current, "runtime", Runtime())

    services.write("INFO", "a line")

    assert capsys.readouterr().out == "a line\n"
