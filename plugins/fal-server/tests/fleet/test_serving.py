"""Serving: runners that are asked to serve an application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from bare_runners import make_runner, until
from planes import Plane
from raw_agents import Agent, Serve, listening

from fal_core.environments import CurrentEnvironment
from fal_core.errors import StartupTimeout
from fal_core.events import Ready
from fal_core.hosts import Execution
from fal_server.errors import NotFound, StateUnavailable
from fal_server.fleet import runners, serving
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.fleet.serving import serve
from fal_server.fleet.states import RunnerPhase
from fal_server.specs.runner_specs import Message, RunnerSpec
from fal_server_agent.messages import pack
from fal_server_agent.outcomes import returned


async def fail_to_load(plane: Any, error: Exception, phase: RunnerPhase) -> Runner:
    """Serve on a runner whose function cannot be loaded, and return it once it is in *phase*."""

    async def load() -> Message:
        raise error

    async with aclosing(HttpClient()) as exchanges:
        runner = make_runner(plane, exchanges)
        serve(runner, load)
        runner.take(Ready({"control": "http://127.0.0.1:1"}))
        await until(lambda: runner.state is phase)
        return runner


@pytest.mark.parametrize("error", [NotFound("It is gone."), OSError("No room.")])
def test_runner_that_does_not_receive_its_function_is_ended(plane, error):
    """
    Any failure before a runner has received its function ends the runner, and waiting
    requests fail.
    """

    runner = plane.run(fail_to_load(plane, error, RunnerPhase.GIVEN_UP))
    assert runner.reason


def test_runner_of_an_earlier_version_that_does_not_come_up(plane, monkeypatch):
    """
    After a restart of the server, a runner whose agent reports no url, as agents of earlier
    versions do, is ended if its host has none either.
    """
    monkeypatch.setattr(serving, "_LONGEST_START", 0.2)

    async def load() -> Message:
        return {}, []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        message = pack({"serving": True})
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        writer.write(head + len(message).to_bytes(8, "little") + message)
        writer.close()

    async def main() -> None:
        agent = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = agent.sockets[0].getsockname()[1]
        async with agent, aclosing(HttpClient()) as exchanges:
            told, mute = (make_runner(plane, exchanges) for _ in range(2))
            for runner in (told, mute):
                serve(runner, load)
                runner.take(Ready({"control": f"http://127.0.0.1:{port}"}))
            told.take(Ready({"run": "http://127.0.0.1:1"}))
            await until(lambda: mute.state is RunnerPhase.GIVEN_UP)
            assert isinstance(mute.cause, StartupTimeout)
            assert told.state is RunnerPhase.RUNNING

    plane.run(main())


def framed(*messages: bytes) -> bytes:
    """Return messages of an agent as they stand in its response."""
    return b"".join(len(each).to_bytes(8, "little") + each for each in messages)


@contextlib.asynccontextmanager
async def asked_to_serve(
    plane: Any, turn: Serve, **spec: Any
) -> AsyncIterator[tuple[Runner, Agent]]:
    """Yield a runner that is asked to serve, whose agent *turn* implements."""

    async def load() -> Message:
        return {"port": 8080}, [b"function"]

    agent = Agent(turn)
    async with listening(agent) as (exchanges, url):
        given = {"name": "one", "owner": "", "environment": CurrentEnvironment(), **spec}
        runner = make_runner(plane, exchanges, spec=RunnerSpec(**given))
        serve(runner, load)
        runner.take(Ready({"control": url}))
        yield runner, agent


@pytest.mark.parametrize("pieces", [1, 7])
def test_runner_serves_until_its_function_ends(plane, pieces: int):
    """
    A runner takes requests once its agent has reported a URL, and has an outcome once the
    agent has reported that, in whatever pieces both arrive.
    """
    go_on = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for message in (pack({"urls": {"run": "http://127.0.0.1:2"}}), returned("pickle", 42)):
            content = framed(message)
            for start in range(0, len(content), pieces):
                writer.write(content[start : start + pieces])
                # Let it arrive by itself.
                await asyncio.sleep(0)
            await go_on.wait()

    async def main() -> None:
        async with asked_to_serve(plane, answer) as (runner, agent):
            await runner.ready.wait()
            assert (runner.is_running, runner.url) == (True, "http://127.0.0.1:2")
            assert not runner.outcome.done()
            go_on.set()
            outcome = await runner.outcome
            assert (outcome.failure, outcome.raised) == ("", False)
            assert agent.requests[0].startswith(b"POST /serve HTTP/1.1\r\n")

    plane.run(main())


def test_runner_that_does_not_serve_in_time(plane):
    """A runner whose application is not up within its time is given up, with the limit."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1 << 20)

    async def main() -> None:
        async with asked_to_serve(plane, mute, startup_timeout=0.05) as (runner, _):
            await until(lambda: runner.state is RunnerPhase.GIVEN_UP)
            assert isinstance(runner.cause, StartupTimeout)
            assert "startup_timeout" in runner.reason

    plane.run(main())


def test_state_that_cannot_be_read_blocks_a_runner(plane):
    """A runner whose function the server cannot read at present is not at fault."""

    error = StateUnavailable("It is locked.")
    runner = plane.run(fail_to_load(plane, error, RunnerPhase.BLOCKED))
    assert (runner.reason, runner.lifecycle.is_blocked) == ("It is locked.", True)


def test_no_task_outlives_the_plane(plane, tmp_path):
    """
    A plane that closes ends no runner, and leaves no task: neither one that waits for an
    agent, with a limit or without, nor one that hears from an agent until its function ends.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        writer.write(framed(pack({"urls": {"run": "http://127.0.0.1:2"}})))
        await reader.read()

    async def load() -> Message:
        return {}, []

    async def make(url: str) -> list[Runner]:
        made = []
        for limit in (None, 600, None):
            spec = RunnerSpec(
                name="one", owner="", environment=CurrentEnvironment(), startup_timeout=limit
            )
            runner = make_runner(closing, closing.plane.launcher.http, spec=spec)
            serve(runner, load)
            made.append(runner)
        made[-1].take(Ready({"control": url}))
        await made[-1].ready.wait()
        return made

    async def main() -> None:
        async with listening(Agent(answer)) as (_, url):
            made = await asyncio.to_thread(lambda: closing.run(make(url)))
            await asyncio.to_thread(closing.close)
        assert [each.is_alive for each in made] == [True] * 3
        assert [each.serving is None or each.serving.done() for each in made] == [True] * 3

    closing = Plane(tmp_path)
    plane.run(main())


class Silent(Execution):
    """The execution of a host that has launched a runner, and reports nothing any more."""

    @property
    def reference(self) -> str:
        return "silent"

    def send(self, message: Any) -> None:
        pass

    def drain(self) -> None:
        pass

    def cancel(self, grace: float) -> None:
        pass


def test_runner_whose_host_reports_nothing(plane, monkeypatch):
    """
    A runner that was launched, and whose host neither says that its agent listens nor that
    it has ended, is given up after the timeout of its start, and counts as ended soon after.
    """
    monkeypatch.setattr(serving, "_MOMENT", 0.0)
    monkeypatch.setattr(runners, "_LONGEST_END", 0.1)

    async def load() -> Message:
        return {}, []

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            spec = RunnerSpec(
                name="one", owner="", environment=CurrentEnvironment(), startup_timeout=0.1
            )
            runner = make_runner(plane, exchanges, spec=spec)
            serve(runner, load)
            runner.launched(Silent())
            await runner.ended.wait()
            assert runner.lifecycle.failed_to_start
            assert isinstance(runner.cause, StartupTimeout)
            assert "startup_timeout of 0.1 s" in runner.why_it_ended

    plane.run(main())


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ((3 << 30).to_bytes(8, "little"), "announces 3221225472 bytes, of at most"),
        (framed(b"\xff" * 20), "header is not JSON"),
        (framed(pack({"urls": ["http://127.0.0.1:2"]})), "URLs have no names"),
        (framed(pack({"urls": {"run": 7}})), "what is no URL"),
        (framed(pack({"urls": {"run": "http://127.0.0.1:port"}})), "what is no URL"),
        (framed(pack({"raised": "no"})), "neither that it returned nor that it raised"),
    ],
)
@pytest.mark.parametrize("is_up", [False, True])
def test_agent_that_cannot_be_read_is_ended(plane, message: bytes, what: str, is_up: bool):
    """A runner whose agent sends what is no message is ended, whether or not it serves already."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if is_up:
            writer.write(framed(pack({"urls": {"run": "http://127.0.0.1:2"}})))
        writer.write(message)
        await reader.read()

    async def main() -> None:
        async with asked_to_serve(plane, answer) as (runner, _):
            wanted = RunnerPhase.SICK if is_up else RunnerPhase.GIVEN_UP
            await until(lambda: runner.state is wanted)
            assert what in runner.reason

    plane.run(main())
