"""Responses of runners to queued requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bare_runners import make_runner
from queued import make_request
from raw_agents import Agent, Serve, answering, full_listener, holding, listening

from fal_server.fleet.http_upstreams import BrokenUpstream, UnreachedUpstream
from fal_server.fleet.runners import Runner
from fal_server.fleet.states import RunnerPhase
from fal_server.queue.responses import RunnerResponse, ask
from fal_server.routing.applications import Application
from fal_server.routing.refusals import RequestTimeout, StartTimeout
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.specs.scaling import Scaling
from fal_server.state.bodies import Body
from fal_server.state.file_stores import FolderStore
from fal_server.store.queued_requests import QueuedRequest


def test_answer_of_an_application_is_passed_on(served_plane, app):
    """Errors of the application, and bodies that are not JSON, arrive unchanged."""
    failed, text = served_plane.submit(f"{app}/fail"), served_plane.submit(f"{app}/text")
    answer = served_plane.finish(app, failed)
    assert (answer.status_code, answer.json()) == (422, {"detail": "It is wrong."})
    assert served_plane.status(app, failed).json()["error"] == "It is wrong."
    answer = served_plane.finish(app, text)
    assert (answer.headers["content-type"], answer.text) == ("text/plain", "words")


@contextlib.asynccontextmanager
async def serving(
    plane: Any, turn: Serve, timeout: float | None = None
) -> AsyncIterator[tuple[Application, Runner, Agent]]:
    """
    Yield an application whose requests may take so many seconds, and a runner of it with an
    agent that *turn* implements.
    """
    agent = Agent(turn)
    async with listening(agent) as (exchanges, url):
        runner = make_runner(plane, exchanges, url=url)
        runner.become_ready()
        application = Application(
            owner="user|1",
            owner_name="owner",
            alias="app",
            auth_mode=0,
            pool=make_closed_pool(),
            scaling=Scaling(request_timeout=timeout),
        )
        yield application, runner, agent


async def respond(
    plane: Any, turn: Serve, **fields: Any
) -> tuple[RunnerResponse, Runner, Agent]:
    """Return the response to a request, and the runner and the agent that have responded."""
    async with serving(plane, turn) as (application, runner, agent):
        response = await ask_once(plane, application, runner, make_request(**fields))
        return response, runner, agent


async def ask_once(
    plane: Any,
    application: Application,
    runner: Runner,
    request: QueuedRequest,
    body: Body | None = None,
    *,
    name: str = "",
) -> RunnerResponse:
    """
    Return the response of *runner* to a request.

    Arguments:
        name: The name of the file with the response, if it has one.
    """
    files = plane.plane.queue.files
    with files.receive(name or uuid.uuid4().hex, largest=1 << 20) as incoming:
        return await ask(application, runner, request, body or Body(), incoming)


def message(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d It" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_runner_is_told_the_attempt(plane):
    """
    A runner gets the request with the number of the attempt, and is asked for a response
    without an encoding: it is read later, perhaps by a webhook.
    """
    given = (("X-Mine", "1"), ("Accept-Encoding", "gzip"))
    fields = {"path": "/a%20b?c=d", "attempts": 2, "headers": given}
    answer = holding(message(200, b"fine", b"X-Back: a", b"X-Back: b", b"Date: now"))
    response, runner, agent = plane.run(respond(plane, answer, **fields))
    head = agent.requests[0].decode().split("\r\n")
    assert head[0] == "POST /a%20b?c=d HTTP/1.1"
    sent = {name.lower(): value for name, _, value in (it.partition(": ") for it in head[1:])}
    assert (sent["x-fal-request-attempt"], sent["accept-encoding"]) == ("2", "identity")
    assert (sent["x-mine"], sent["x-fal-endpoint"]) == ("1", "/a%20b")
    assert (response.status, response.body.content, response.error) == (200, b"fine", None)
    assert [value for name, value in response.headers if name == "X-Back"] == ["a", "b"]
    assert not {"content-length", "date"} & {name.lower() for name, _ in response.headers}
    assert runner.is_running


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"detail": "It is wrong."}', "It is wrong."),
        (b'{"detail": [{"loc": "x"}]}', '[{"loc": "x"}]'),
        (b'{"other": 1}', '{"other": 1}'),
        (b'"text"', "text"),
        (b"words \xff", "words \ufffd"),
        (b'{"detail": "half \\ud800"}', "half ?"),
        (b"[" * 100_000, "[" * 1000),
        (b"", ""),
    ],
    ids=["detail", "list", "object", "text", "words", "surrogate", "deep", "empty"],
)
def test_error_of_a_response_can_be_stored(plane, body: bytes, error: str):
    """
    The error of a response is read from its body, whatever that is, as a text that can be
    stored; the body stays as it is.
    """
    response, _, _ = plane.run(respond(plane, holding(message(422, body))))
    assert (response.status, response.error) == (422, error)
    assert b"".join(response.body.pieces_here()) == body
    assert response.failed is False
    error.encode()


@pytest.mark.parametrize(
    ("status", "headers", "failed", "ends"),
    [
        (500, (), False, False),
        (503, (), "server_error", True),
        (503, (b"X-Fal-Stop-Runner: 0",), "server_error", False),
        (500, (b"X-Fal-Needs-Retry: 1",), True, False),
        (200, (b"X-Fal-Stop-Runner: 1",), False, True),
    ],
)
def test_response_decides_about_retries_and_its_runner(plane, status, headers, failed, ends):
    """A response says whether its request is retried, and whether its runner is ended."""
    answer = holding(message(status, b"", *headers))
    response, runner, _ = plane.run(respond(plane, answer))
    assert response.failed == failed
    assert runner.is_running is not ends


def test_runner_that_takes_too_long_takes_no_more(plane):
    """A request over its timeout fails with the limit, and its runner is drained."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1)

    async def main() -> None:
        async with serving(plane, serve, timeout=0.1) as (application, runner, _):
            with pytest.raises(RequestTimeout, match=r"more than 0\.1 seconds"):
                await ask_once(plane, application, runner, make_request())
            assert runner.state is RunnerPhase.DRAINING

    plane.run(main())


class EndlessBody(Body):
    """A body that never ends, and is read on for a while where nobody needs it any more."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield its first byte, and wait until it is cancelled twice."""
        yield b"x"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()


def test_response_whose_exchange_does_not_end_leaves_no_file(plane, tmp_path, settle):
    """
    If an exchange fails after the response has come, as its request is still being sent, the
    file of the response is removed.
    """
    answer = holding(message(200, b"y" * 100_000))
    folder = plane.directory.path / "requests"

    async def main() -> None:
        async with serving(plane, answer, timeout=1.0) as (application, runner, _):
            body = EndlessBody(size=2, files=FolderStore(tmp_path))
            with pytest.raises(RequestTimeout):
                await ask_once(plane, application, runner, make_request(), body, name="kept")

    plane.run(main())
    settle(lambda: not (folder / "kept").exists())


def test_runner_that_cannot_be_reached_takes_no_more(plane, monkeypatch):
    """
    A runner that accepts no connection is drained; one that breaks off a request is not, as
    its host will report its end.
    """
    monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_CONNECT", 0.1)

    async def main() -> None:
        async with serving(plane, answering(b"")) as (application, runner, _):
            with pytest.raises(BrokenUpstream):
                await ask_once(plane, application, runner, make_request())
            assert runner.is_running
            with full_listener() as url:
                runner.url = url
                with pytest.raises(UnreachedUpstream):
                    await ask_once(plane, application, runner, make_request())
            assert runner.state is RunnerPhase.DRAINING

    plane.run(main())


@pytest.mark.parametrize("failed", [False, "timeout"])
def test_response_of_no_runner(failed: Any):
    """A request that no runner responds to gets a response that describes the refusal."""
    response = RunnerResponse.from_refusal(StartTimeout("Too late."), failed)
    assert (response.status, response.failed) == (504, failed)
    assert (response.error, response.error_type) == ("Too late.", "startup_timeout")
    assert json.loads(response.body.content) == {
        "detail": "Too late.",
        "error_type": "startup_timeout",
    }
    headers = dict(response.headers)
    assert headers["x-fal-request-timeout-type"] == "user"
    assert headers["Content-Type"] == "application/json"
