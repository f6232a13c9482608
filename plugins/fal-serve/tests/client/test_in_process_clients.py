"""Clients of applications in their own process, and the fixture that gives one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from fal_serve import App, AppClientError, AppException, endpoint, realtime
from fal_serve.client.in_process_clients import open_in_process
from fal_serve.testing import app_client

__all__ = ["app_client"]


class Text(BaseModel):
    text: str


class Reader(App, kind="virtualenv", requirements=["not-to-be-installed"]):
    events: list[str] = []

    def setup(self):
        self.events.append("set up")
        self.factor = 2

    def teardown(self):
        self.events.append("torn down")

    @endpoint("/count")
    def count(self, text: Text) -> int:
        if not text.text:
            raise AppException("There is nothing to count.", 422)
        return self.factor * len(text.text)

    @endpoint("/words")
    async def words(self, text: Text) -> Iterator[str]:
        for word in text.text.split():
            yield word

    @endpoint("/where")
    def where(self) -> tuple[int, str]:
        return os.getpid(), threading.current_thread().name

    @endpoint("/fail")
    def fail(self) -> None:
        raise LookupError("of the handler")

    @realtime("/echo")
    def echo(self, text: Text) -> Text:
        return text


def test_application_is_called_without_a_port(app_client):
    """
    The client has the methods of the endpoints, and calls them in this process, where the
    application is set up though its requirement is not there.
    """
    client = app_client(Reader)
    assert client.count(Text(text="four")) == 8
    assert list(client.words(Text(text="to be"))) == ["to", "be"]
    assert client.where()[0] == os.getpid()
    assert client.http.get("/openapi.json").json()["paths"]["/count"]


def test_application_is_set_up_once_and_torn_down():
    """The setup ends before the first request, and the teardown with the context."""
    Reader.events.clear()
    with open_in_process(Reader) as client:
        assert Reader.events == ["set up"]
        client.count(Text(text="a"))
        client.count(Text(text="b"))
    assert Reader.events == ["set up", "torn down"]
    assert "application" not in {thread.name for thread in threading.enumerate()}


def test_tasks_of_an_application_end_with_it():
    """What a handler has left running in the event loop is cancelled, as where it is served."""
    ended: list[str] = []

    class Leaving(App, kind="current"):
        async def watch(self):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("watch")

        @endpoint("/")
        async def answer(self) -> int:
            self.task = asyncio.create_task(self.watch())
            await asyncio.sleep(0)
            return 1

    with open_in_process(Leaving) as client:
        assert client.answer() == 1
        assert not ended
    assert ended == ["watch"]


def test_task_that_goes_on_when_cancelled_is_left():
    """
    A task that does not end when it is cancelled holds up the end of the application for a
    moment, as where it is served.
    """
    cancelled: list[str] = []

    class Stubborn(App, kind="current"):
        async def watch(self):
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append("watch")

        @endpoint("/")
        async def answer(self) -> int:
            self.task = asyncio.create_task(self.watch())
            await asyncio.sleep(0)
            return 1

    with open_in_process(Stubborn) as client:
        assert client.answer() == 1
    assert cancelled == ["watch"]
    assert "application" not in {thread.name for thread in threading.enumerate()}


def test_errors_are_those_that_a_client_sees(app_client):
    """An error response is an error of the client; what nothing handles arrives as itself."""
    client = app_client(Reader)
    with pytest.raises(AppClientError, match="There is nothing to count") as caught:
        client.count(Text(text=""))
    assert caught.value.status_code == 422
    with pytest.raises(LookupError, match="of the handler"):
        client.fail()


def test_endpoint_that_needs_a_port_says_so(app_client):
    """A realtime endpoint is an error that names the client that has a port."""
    with pytest.raises(TypeError, match=r"AppClient\.connect\(Reader\)"):
        app_client(Reader).echo()


def test_setup_that_fails_is_raised_as_itself():
    """What the setup raises ends the context before it has begun."""

    class Broken(App, kind="current"):
        def setup(self):
            raise LookupError("no model")

        @endpoint("/")
        def answer(self) -> int:
            return 1

    with pytest.raises(LookupError, match="no model"), open_in_process(Broken):
        pytest.fail("it was set up")
