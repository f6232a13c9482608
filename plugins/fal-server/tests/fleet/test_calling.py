"""Calling: the outcome of a call, after its lines, or the reason why there is none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bare_runners import make_runner
from raw_agents import Agent, Serve, listening

from fal_core.errors import WorkerLost
from fal_core.events import Exited, Log
from fal_server.fleet import calling, disconnections
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.calling import call
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.fleet.states import RunnerPhase
from fal_server.logs.log_lines import LogLine
from fal_server_agent.messages import END_OF_LOGS, unpack
from fal_server_agent.outcomes import returned

END = Log(END_OF_LOGS, "DEBUG", request_id="call-1")


@contextlib.asynccontextmanager
async def calling_in(
    plane: Any, turn: Serve, echoed: list[str] | None = None
) -> AsyncIterator[tuple[Runner, asyncio.Task[CallOutcome]]]:
    """
    Yield a runner that an agent implements by *turn*, and the task that calls a function in
    it.
    """

    def echo(line: LogLine) -> None:
        if echoed is not None:
            echoed.append(line.message)

    async with listening(Agent(turn)) as (exchanges, url):
        runner = make_runner(plane, exchanges, echoes={"call-1": echo})
        runner.take_urls({"control": url})
        yield runner, asyncio.create_task(call(runner, "call-1", {"method": "pickle"}, [b"f"]))


def answering(received: list[bytes]) -> Serve:
    """Return an agent that keeps the message that it got, and returns a value."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split()[0])
        received.append(await reader.readexactly(size))
        body = returned("pickle", 42)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return serve


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a call, and do not answer."""
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(1 << 20)


def test_outcome_follows_all_lines(plane):
    """
    The outcome of a call is returned once the last of its lines has arrived, which may be
    after the agent has answered.
    """
    received: list[bytes] = []
    echoed: list[str] = []

    async def main() -> None:
        async with calling_in(plane, answering(received), echoed) as (runner, task):
            while not received:
                await asyncio.sleep(0)
            runner.take(Log("its last line"))
            runner.take(END)
            outcome = await task
            assert echoed == ["its last line"]
            assert (outcome.failure, outcome.raised, outcome.method) == ("", False, "pickle")
            header, parts = unpack(received[0])
            assert (header, parts) == ({"method": "pickle", "call": "call-1"}, [b"f"])

    plane.run(main())


def test_lines_that_do_not_arrive_are_not_waited_for_ever(plane, monkeypatch, caplog):
    """An outcome is returned even if the end of its lines does not arrive in time."""
    monkeypatch.setattr(calling, "_LAST_LINES", 0.05)

    async def main() -> None:
        async with calling_in(plane, answering([])) as (_, task):
            assert not (await task).failure

    plane.run(main())
    assert "The last log lines of call-1 did not arrive." in caplog.text


def test_runner_that_ends_during_a_call(plane):
    """
    A call fails with the reason as soon as the host has reported it, without waiting for
    the agent.
    """

    async def main() -> None:
        async with calling_in(plane, mute) as (runner, task):
            runner.take(Exited(reason=WorkerLost(None, 9)))
            with pytest.raises(RunnerLost, match="SIGKILL"):
                await task

    plane.run(main())


def test_agent_that_breaks_off_a_call(plane, monkeypatch):
    """A call whose agent breaks off fails with the reason that the host reports afterwards."""
    monkeypatch.setattr(disconnections, "_LAST_WORDS", 0.01)
    broken = asyncio.Event()

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        broken.set()

    async def main() -> None:
        async with calling_in(plane, break_off) as (runner, task):
            await broken.wait()
            runner.take(Exited(reason=WorkerLost(7, None)))
            with pytest.raises(RunnerLost, match="exited with code 7"):
                await task

    plane.run(main())


def test_runner_that_ends_before_it_listens(plane):
    """A call in a runner that never listens fails with the reason."""

    async def main() -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges)
            task = asyncio.create_task(call(runner, "call-1", {}, []))
            runner.take(Exited(code=3))
            with pytest.raises(RunnerLost, match="exited with code 3"):
                await task

    plane.run(main())


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"Content-Length: 2\r\n\r\n{}", "it has no header"),
        (b"Content-Length: 3221225472\r\n\r\n", "3221225472 bytes long or longer, of at most"),
        (b"Connection: close\r\n\r\n" + bytes(3000), "bytes long or longer, of at most 2000"),
    ],
)
def test_agent_that_sends_no_outcome_is_ended(plane, answer: bytes, what: str):
    """
    A runner whose result cannot be read, or is larger than the server takes, is ended, and
    its caller is told.
    """

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + answer)

    async def main() -> None:
        async with calling_in(plane, send) as (runner, task):
            runner.largest_result = 2000
            runner.become_ready()
            runner.take(END)
            with pytest.raises(RunnerLost, match=f"its result cannot be read: .*{what}"):
                await task
            assert runner.state is RunnerPhase.SICK
            assert runner.is_replaced

    plane.run(main())
