"""
The agent: runs the calls of one function, or serves one application.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hmac
import os
import sys
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fal_core_worker import current
from fal_core_worker.serving import services
from fal_core_worker.serving.ports import free_port
from fal_server_agent import outcomes
from fal_server_agent.directories import settle
from fal_server_agent.limits import limit_memory
from fal_server_agent.listening import answers
from fal_server_agent.messages import END_OF_LOGS, TOKEN_HEADER, pack, unpack
from fal_server_agent.places import Apart, Place, PortTaken, find_place
from fal_server_agent.surroundings import forget_credentials
from fal_server_agent.tracing import TRACE_VARIABLES, mark_requests

#: The port that a server takes which was not told another.
_USUAL_PORT = 8080

#: By it calls know an agent that reads what they print by itself.
READS = "FAL_CORE_AGENT"

#: Seconds after which an agent ends that nobody has asked for anything.
_UNUSED = 600.0

#: Seconds in which whoever has it serve takes how that has ended.
_LAST_WORD = 20.0

#: The largest message, in bytes.
_LARGEST = 1 << 31


class Agent(services.Server):
    """
    Takes what a control plane sends, opens and runs it.

    Arguments:
        token: What the plane has to show.

        paths: Directories for ``sys.path``, behind those of the environment.

        memory: How much memory it may use with all that it starts, in bytes. None for
            any.

        name: What the group is called that the system counts its memory in.
    """

    requirements: Sequence[str] = ()
    packages = ("fal_server_agent",)

    def __init__(
        self, token: str, paths: Sequence[str], *, memory: int | None = None, name: str = ""
    ) -> None:
        self.func = run
        self.__name__ = "agent"
        self.__module__ = __name__
        self._token = token
        self._paths = tuple(paths)
        self._memory = memory
        self._name_of_group = name

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        if self._memory is not None:
            limit_memory(self._memory, self._name_of_group)
        run(self._token, self._paths)


def run(token: str, paths: Sequence[str]) -> None:
    """
    Run an agent until it is drained, or what it serves has ended.
    """
    sys.path.extend(path for path in paths if path not in sys.path)
    forget_credentials(os.environ)
    # What calls print is read here before they are answered; none has to wait for that.
    os.environ[READS] = str(os.getpid())
    loop = asyncio.new_event_loop()
    desk = Desk(token)
    services.run(desk.run(), loop, desk.drain)


class Desk:
    """
    Where the plane's messages arrive.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._ended = asyncio.Event()
        self._setups: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(1, "call")
        self._served: asyncio.Task[bytes] | None = None
        self._urls: dict[str, str] = {}
        self._up = asyncio.Event()
        # What is served may set another one meanwhile, which leads nowhere.
        self._runner = current.runtime
        self._used = False
        self._settled = False
        self._calling = asyncio.Lock()
        self._place: Place | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """
        Listen until it is drained.
        """
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=1 << 20)
        port = server.sockets[0].getsockname()[1]
        services.announce({"control": f"http://127.0.0.1:{port}"})
        waiting = asyncio.get_running_loop().call_later(_UNUSED, self._end_unused)
        try:
            await self._ended.wait()
        finally:
            waiting.cancel()
            server.close()
        if self._served is not None and not self._served.done():
            await asyncio.wait([self._served])
        if self._telling:
            # Who has it serve is told first how that has ended.
            await asyncio.wait(self._telling, timeout=_LAST_WORD)
        async with self._calling:
            # What it has is answered first.
            pass

    def _end_unused(self) -> None:
        if not self._used:
            self.drain()

    def drain(self) -> None:
        """
        Take no more, and end once what runs has ended.
        """
        if self._place is not None:
            self._place.end()
        self._ended.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Answer one request after the other of a connection.
        """
        try:
            while (request := await _read_request(reader)) is not None:
                path, headers, body = request
                shown = headers.get(TOKEN_HEADER, "")
                if not hmac.compare_digest(shown.encode(), self._token.encode()):
                    _respond(writer, b"", status="403 Forbidden")
                    continue
                self._used = True
                if path == "/serve":
                    await self._tell_of(self._serve(writer, body))
                    return
                if path == "/ping":
                    _respond(writer, b"")
                    await writer.drain()
                    continue
                async with self._calling:
                    _respond(writer, await self._call(body))
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    # -- calls -------------------------------------------------------------------

    def _settle(self, header: dict[str, Any]) -> None:
        """
        Set the variables that were sent, and where it is run.
        """
        for name in TRACE_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(header.get("variables") or {})
        if not self._settled:
            # All calls of a runner are of one account, and have the same files.
            settle(header)
            self._settled = True

    async def _call(self, body: bytes) -> bytes:
        header, parts = unpack(body)
        try:
            self._settle(header)
        except OSError as error:
            return outcomes.failed(_unsettled(error))
        services.request_id.set(header["call"])
        try:
            answer = await self._run(header, parts, {})
        finally:
            runner = current.runtime
            if runner is not None:
                runner.output.flush_call()
                services.write("DEBUG", END_OF_LOGS)
                runner.output.flush()
            services.request_id.set("")
        return answer

    async def _run(
        self, header: dict[str, Any], parts: list[bytes], keywords: dict[str, Any]
    ) -> bytes:
        """
        Open and run what was sent; *keywords* go to it where it takes them.
        """
        entrypoint = header.get("entrypoint")
        method = header.get("method") or outcomes.DEFAULT_METHOD
        main = header.get("main_thread")
        setup = header.get("setup_method")
        try:
            arguments = []
            if setup:
                known = outcomes.digest(setup, parts[1])
                if known not in self._setups:
                    opened = outcomes.load(setup, parts[1])
                    self._setups[known] = await self._apply(opened, (), {}, main)
                arguments.append(self._setups[known])
            function = (
                outcomes.resolve(entrypoint) if entrypoint else outcomes.load(method, parts[0])
            )
            taken = {
                name: it for name, it in keywords.items() if outcomes.wants(function, name)
            }
            value = await self._apply(function, arguments, taken, main)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            return _answer(functools.partial(outcomes.raised, method, error))
        return _answer(lambda: outcomes.returned(method, value))

    async def _apply(
        self,
        function: Any,
        arguments: Sequence[Any],
        keywords: dict[str, Any],
        main: bool | None,
    ) -> Any:
        if main is None:
            main = bool(getattr(function, "_run_on_main_thread", False))
        if main:
            result = function(*arguments, **keywords)
        else:
            context = contextvars.copy_context()
            result = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: context.run(function, *arguments, **keywords)
            )
        return await result if asyncio.iscoroutine(result) else result

    # -- applications --------------------------------------------------------------

    async def _tell_of(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        await task

    async def _serve(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """
        Serve an application, and tell first where, then how it has ended.

        It is served on where the plane goes away meanwhile; a plane that was started
        again cannot know, and is told the same.
        """
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if self._served is None:
            header, parts = unpack(body)
            try:
                self._settle(header)
            except OSError as error:
                _tell(writer, outcomes.failed(_unsettled(error)))
                await writer.drain()
                self._ended.set()
                return
            self._served = asyncio.create_task(self._serve_now(header, parts))
        up = asyncio.ensure_future(self._up.wait())
        await asyncio.wait({up, self._served}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        await asyncio.wait({up})
        if self._urls:
            _tell(writer, pack({"urls": self._urls}))
        outcome = await asyncio.shield(self._served)
        _tell(writer, outcome)
        await writer.drain()
        self._ended.set()

    async def _serve_now(self, header: dict[str, Any], parts: list[bytes]) -> bytes:
        metrics = free_port()
        mark_requests()
        try:
            place = self._place = _find_place(header, parts)
        except PortTaken as error:
            return outcomes.failed(str(error))
        watch = asyncio.create_task(self._watch(place, metrics, header))
        keywords = {"exposed_port": place.port, "exposed_metrics_port": metrics}
        try:
            if isinstance(place, Apart):
                return await place.run(lambda: _run_apart(header, parts))
            return await self._run(header, parts, keywords)
        finally:
            watch.cancel()
            self._ended.set()

    async def _watch(self, place: Place, metrics: int, header: dict[str, Any]) -> None:
        await answers(place, None)
        await answers(place, header.get("health_check"))
        self._urls = {
            "run": f"http://127.0.0.1:{place.port}",
            "metrics": f"http://127.0.0.1:{metrics}",
        }
        self._up.set()
        if self._runner is not None:
            self._runner.announce(dict(self._urls))


def _find_place(header: dict[str, Any], parts: list[bytes]) -> Place:
    """
    Return where what was sent is to listen.

    Raises:
        PortTaken: It brings a server of its own, whose port another has.
    """
    entrypoint, method = header.get("entrypoint"), str(header.get("method"))
    try:
        function = (
            outcomes.resolve(entrypoint) if entrypoint else outcomes.load(method, parts[0])
        )
    except BaseException:
        # It fails again where it is run, and its error is told.
        return Place(free_port())
    if outcomes.wants(function, "exposed_port"):
        return Place(free_port())
    name = (header.get("variables") or {}).get("FAL_APP_NAME", "")
    return find_place(header.get("port") or _USUAL_PORT, name, f"runner-{header['call']}")


def _run_apart(header: dict[str, Any], parts: list[bytes]) -> bytes:
    """
    Run what was sent in a forked child.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(Desk("")._run(header, parts, {}))


def _unsettled(error: OSError) -> str:
    return f"The directories of the runner cannot be had: {error.strerror}."


def _answer(make: Any) -> bytes:
    try:
        answer: bytes = make()
    except outcomes.Unserializable as error:
        return outcomes.failed(str(error))
    return answer


def _tell(writer: asyncio.StreamWriter, message: bytes) -> None:
    """
    Write *message* behind its length, if somebody still reads.
    """
    if not writer.is_closing():
        writer.write(len(message).to_bytes(8, "little") + message)


def _respond(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    writer.write(body)


async def _read_request(
    reader: asyncio.StreamReader,
) -> tuple[str, dict[str, str], bytes] | None:
    """
    Read one request, None at the end of the connection.
    """
    line = await reader.readline()
    words = line.split()
    if len(words) < 3:
        return None
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    size = int(headers.get("content-length") or 0)
    if not 0 <= size <= _LARGEST:
        raise ValueError("The message is too large.")
    return words[1].decode("latin-1"), headers, await reader.readexactly(size)
