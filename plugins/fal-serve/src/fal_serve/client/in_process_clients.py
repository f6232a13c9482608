"""A client of an application in its own process, which needs no port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from fal_serve.client.clients import AppClient
from fal_serve.serving.loops import cancel_tasks

if TYPE_CHECKING:
    from fal_serve.apps import App
    from fal_serve.serving.applications import FalFastAPI

AppT = TypeVar("AppT", bound="App")

#: The URL of requests that go through no network.
_URL = "http://in-process"


class InProcessAppClient(AppClient[AppT]):
    """
    A client of an application that runs in this process.

    Its requests go through no network. It has the methods of :class:`AppClient`, except
    those of realtime and websocket endpoints, which need a port.

    Arguments:
        application: The application, whose ``setup`` has ended or is not needed.

        run: Runs a coroutine in the event loop of the application.
    """

    def __init__(
        self,
        cls: type[AppT],
        application: FalFastAPI,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
    ) -> None:
        super().__init__(cls, _URL, headers={})
        self._client.close()
        self._client = httpx.Client(
            base_url=_URL, transport=_Transport(application, run), timeout=None
        )

    @property
    def http(self) -> httpx.Client:
        """The client of httpx, for requests as they are on the wire."""
        return self._client

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name in self._sockets:
            raise TypeError(
                f"Endpoint {name!r} of {self.cls.__name__} is reached through a port: call it "
                f"in a context of AppClient.connect({self.cls.__name__})."
            )
        return super().__getitem__(name)


@contextmanager
def open_in_process(cls: type[AppT]) -> Iterator[InProcessAppClient[AppT]]:
    """
    Set up an application in this process, return a client of it, and tear it down.

    ``setup`` and ``teardown`` run on a thread of the application, which is not the main one.
    What a handler raises and no exception handler handles is raised by the client.
    """
    with ExitStack() as stack:
        run = stack.enter_context(_event_loop())
        servable = cls()
        application = servable.build_application()
        end = run(_begin(servable.lifespan(application)))
        stack.callback(lambda: run(end()))
        client = InProcessAppClient(cls, application, run)
        stack.callback(client.close)
        yield client


async def _begin(
    life: AbstractAsyncContextManager[None],
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Enter the context *life* in a task of its own, and return what leaves it there."""
    begun, ending = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with life:
            begun.set()
            await ending.wait()

    living = asyncio.create_task(live())
    beginning = asyncio.create_task(begun.wait())
    await asyncio.wait({living, beginning}, return_when=asyncio.FIRST_COMPLETED)
    if not begun.is_set():
        beginning.cancel()
        await living

    async def end() -> None:
        ending.set()
        await living

    return end


async def _cancel_others() -> None:
    """End what still runs in this event loop, as where an application is served."""
    await cancel_tasks([each for each in asyncio.all_tasks() if each != asyncio.current_task()])


@contextmanager
def _event_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run an event loop on a thread, and return what runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="application", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class _Transport(httpx.BaseTransport):
    """Hands requests to an ASGI application, in its event loop."""

    def __init__(
        self, application: FalFastAPI, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self._transport = httpx.ASGITransport(application)
        self._run = run

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = self._run(self._answer(request))
        return response

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        # What a client has sent may be read once, and only in its own way.
        asked = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        answer = await self._transport.handle_async_request(asked)
        body = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)
