"""The control server: where an agent takes the requests of its control plane."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import hmac
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fal_core_worker import current
from fal_core_worker.serving import services
from fal_core_worker.serving.ports import free_port
from fal_server_agent import carried, functions, outcomes, shells
from fal_server_agent.messages import (
    END_OF_LOGS,
    TOKEN_HEADER,
    TRACE_VARIABLES,
    pack,
    unpack,
)
from fal_server_agent.metering.meters import Meter
from fal_server_agent.mounts import mount
from fal_server_agent.networks.listening import answers
from fal_server_agent.networks.places import (
    OPEN,
    OpenPort,
    PortUnavailable,
    RunnerEndpoint,
    SecludedPort,
    SocketFolder,
    claim_port,
)
from fal_server_agent.networks.sockets import CONTROL, url_of
from fal_server_agent.request_labels import take_request_labels

if TYPE_CHECKING:
    from fal_server_agent.networks.leading import Leading

#: The port that an application listens on unless its client named another.
_USUAL_PORT = 8080

#: Seconds after which an agent ends that has had no request.
_UNUSED = 600.0

#: Seconds in which the control plane must take the outcome of what was served.
_LAST_WORD = 20.0


class _Unsettled(Exception):
    """A runner cannot have what a message says. The argument is a sentence."""


class ControlServer:
    """
    The HTTP server of an agent, for its control plane alone.

    Arguments:
        token: The token that the control plane must show.

        folder: The directory of the runner's Unix sockets. Empty for a control plane on
            another machine, which needs ports.

        is_secluded: Whether this process has a network of its own.

        may_be_open: Whether an application may listen on a port of the machine.
    """

    def __init__(
        self,
        token: str,
        folder: str = "",
        *,
        is_secluded: bool = False,
        may_be_open: bool = True,
    ) -> None:
        self._token = token
        self._folder = folder
        self._is_secluded = is_secluded
        self._may_be_open = may_be_open
        self._ended = asyncio.Event()
        self._setups: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(1, "call")
        self._served: asyncio.Task[bytes] | None = None
        self._urls: dict[str, str] = {}
        self._up = asyncio.Event()
        # The application may set another runtime, whose announcements lead nowhere.
        self._runtime = current.runtime
        self._used = False
        self._meter = Meter()
        self._settled = False
        self._leading: Leading | None = None
        self._calling = asyncio.Lock()
        self._reporting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen until it is drained, and raise `ApplicationFailed` if what it served has."""
        if self._folder:
            path = os.path.join(self._folder, CONTROL)
            server = await asyncio.start_unix_server(self._take, path, limit=LARGEST_HEADERS)
            services.announce({"control": url_of(path)})
        else:
            server = await asyncio.start_server(
                self._take, "127.0.0.1", 0, limit=LARGEST_HEADERS
            )
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
        if self._reporting:
            # The control plane is told the outcome first.
            await asyncio.wait(self._reporting, timeout=_LAST_WORD)
        async with self._calling:
            # The call that is under way is answered first.
            pass
        if self._served is not None and not self._served.cancelled():
            outcomes.check(self._served.result())

    def _end_unused(self) -> None:
        if not self._used:
            self.drain()

    def drain(self) -> None:
        """Take no more requests, and end once what runs has ended."""
        self._ended.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, one after the other."""
        try:
            while (head := await read_head(reader)) is not None:
                path, headers = head
                shown = headers.get(TOKEN_HEADER, "")
                if not hmac.compare_digest(shown.encode(), self._token.encode()):
                    # Nothing more is read from a client that does not know the token.
                    respond(writer, b"", status="403 Forbidden")
                    return
                body = await read_body(reader, headers)
                # A client that looks at a runner does not use it.
                self._used = self._used or path != "/usage"
                if path == "/serve":
                    await self._report(self._serve(writer, body))
                    return
                if path == "/shell":
                    return await shells.attend(reader, writer)
                if path in ("/ping", "/usage"):
                    respond(writer, await self._meter.read() if path == "/usage" else b"")
                    await writer.drain()
                    continue
                async with self._calling:
                    respond(writer, await self._call(body))
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    # -- calls -------------------------------------------------------------------

    def _settle(self, header: dict[str, Any], parts: Sequence[bytes]) -> None:
        """
        Set the environment variables of a message, and once the directories.

        Raises:
            _Unsettled: They cannot be made, or the proxy of the runner cannot listen.
        """
        try:
            if not self._settled:
                header.update(carried.unpack(header, parts))
                if led := header.get("led"):
                    # Most runners are not led, and start without it.
                    from fal_server_agent.networks.leading import Leading

                    self._leading = Leading(led, dict(os.environ), self._folder)
            for name in TRACE_VARIABLES:
                os.environ.pop(name, None)
            os.environ.update(header.get("variables") or {})
            if not self._settled:
                # All calls of a runner belong to one account, and have the same files.
                settle(header, sockets=self._folder)
                self._settled = True
        except OSError as error:
            raise _Unsettled(
                f"The directories of the runner cannot be made: {error.strerror}."
            ) from error
        try:
            # In the mount namespace of the runner, which its threads are to share.
            if self._leading is not None:
                self._leading.lead(os.environ)
        except OSError as error:
            raise _Unsettled(
                "The proxy of the runner, which leads released clients to the server, cannot "
                f"be started: {error.strerror}."
            ) from error

    async def _call(self, body: bytes) -> bytes:
        header, parts = unpack(body)
        try:
            self._settle(header, parts)
        except _Unsettled as error:
            return outcomes.failed(str(error))
        services.request_id.set(header["call"])
        try:
            return await self._run(header, parts)
        finally:
            runtime = current.runtime
            if runtime is not None:
                runtime.output.flush_call()
                services.write("DEBUG", END_OF_LOGS)
                runtime.output.flush()
            services.request_id.set("")

    async def _run(self, header: dict[str, Any], parts: list[bytes]) -> bytes:
        """Open a function and run it, and return the message of its outcome."""
        return await self._run_opened(
            lambda: functions.open_function(header, parts), header, parts, {}
        )

    async def _run_opened(
        self,
        open: Callable[[], Any],
        header: dict[str, Any],
        parts: list[bytes],
        keywords: dict[str, Any],
    ) -> bytes:
        """
        Run the function that *open* returns, and return the message of its outcome.

        Arguments:
            keywords: Keyword arguments; those that its signature does not have are left out.
        """
        method = header.get("method") or functions.DEFAULT_METHOD
        main = header.get("main_thread")
        setup = header.get("setup_method")
        try:
            arguments = []
            if setup:
                known = functions.digest(setup, parts[1])
                if known not in self._setups:
                    opened = functions.load(setup, parts[1])
                    self._setups[known] = await self._apply(opened, (), {}, main)
                arguments.append(self._setups[known])
            function = open()
            arguments += functions.open_arguments(header, parts)
            taken = {
                name: it for name, it in keywords.items() if functions.wants(function, name)
            }
            value = await self._apply(function, arguments, taken, main)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            return outcomes.serialized(functools.partial(outcomes.raised, method, error))
        return outcomes.serialized(lambda: outcomes.returned(method, value))

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

    async def _report(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)
        await task

    async def _serve(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """
        Serve an application; report its URLs first, and in the end its outcome.

        It goes on when the control plane goes away. A control plane that was started
        again asks once more, and is told the same.
        """
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if self._served is None:
            header, parts = unpack(body)
            try:
                self._settle(header, parts)
            except _Unsettled as error:
                write(writer, outcomes.failed(str(error)))
                await writer.drain()
                return self._ended.set()
            self._served = asyncio.create_task(self._serve_now(header, parts))
        up = asyncio.ensure_future(self._up.wait())
        await asyncio.wait({up, self._served}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        await asyncio.wait({up})
        if self._urls:
            write(writer, pack({"urls": self._urls}))
        outcome = await asyncio.shield(self._served)
        write(writer, outcome)
        await writer.drain()
        self._ended.set()

    async def _serve_now(self, header: dict[str, Any], parts: list[bytes]) -> bytes:
        """Run a function that serves, and return the message of its outcome."""
        try:
            function = functions.open_function(header, parts)
        except BaseException as error:
            self._ended.set()
            method = header.get("method") or functions.DEFAULT_METHOD
            return outcomes.serialized(functools.partial(outcomes.raised, method, error))
        try:
            place = self._find_place(function, header)
        except PortUnavailable as error:
            self._ended.set()
            return outcomes.failed(str(error))
        async with contextlib.AsyncExitStack() as stack:
            watch = asyncio.create_task(self._watch(place, stack, header))
            try:
                async with take_request_labels(function):
                    keywords = dict(place.keywords)
                    return await self._run_opened(lambda: function, header, parts, keywords)
            finally:
                watch.cancel()
                self._ended.set()

    def _find_place(self, function: Any, header: dict[str, Any]) -> RunnerEndpoint:
        """
        Return where *function* is to listen.

        Raises:
            PortUnavailable: Its port is taken, or would be open to all local users.
        """
        if self._folder and functions.wants(function, "exposed_socket"):
            return SocketFolder(self._folder)
        chooses = functions.wants(function, "exposed_port")
        port = header.get("port") or _USUAL_PORT
        if self._folder and self._is_secluded:
            return SecludedPort(free_port() if chooses else port, self._folder)
        if not self._may_be_open:
            raise PortUnavailable(OPEN)
        if chooses:
            return OpenPort(free_port())
        name = (header.get("variables") or {}).get("FAL_APP_NAME", "")
        return claim_port(port, name, f"runner-{header['call']}")

    async def _watch(
        self, place: RunnerEndpoint, stack: contextlib.AsyncExitStack, header: dict[str, Any]
    ) -> None:
        """Announce the URLs of an application once it is healthy."""
        await answers(place, None)
        await answers(place, header.get("health_check"))
        self._urls = await place.open(stack)
        self._up.set()
        if self._runtime is not None:
            self._runtime.announce(dict(self._urls))


def settle(header: Mapping[str, Any], *, sockets: str = "") -> None:
    """
    Make the directories that a message names, and change to the one with the files.

    They are mounted where applications look for them, if this process may mount.

    Arguments:
        sockets: The directory of the runner's sockets, which stays where it is.
    """
    for each in header["directories"]:
        os.makedirs(each, mode=0o700, exist_ok=True)
    home, files = header["home"], header.get("directory")
    used = [*sys.path, sys.executable, home, sockets, *([files] if files else [])]
    # A mount hides everything below its path: Python and these directories must not be there.
    mounts = {
        path: directory
        for path, directory in header["mounts"].items()
        if not any(each == path or each.startswith(f"{path}/") for each in used)
    }
    mount(mounts, alone=home)
    if files:
        os.chdir(files)
        if files not in sys.path:
            sys.path.append(files)


#: The largest message, and the largest headers of a request, in bytes.
_LARGEST, LARGEST_HEADERS = 1 << 31, 1 << 20


def write(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Write *message* after its length, if somebody still reads."""
    if not writer.is_closing():
        writer.write(len(message).to_bytes(8, "little") + message)


def respond(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK") -> None:
    """Write a response."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    writer.write(body)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    """
    Read the path and the headers of one request. None at the end of the connection.

    Raises:
        ValueError: They are too large.
    """
    words = (await reader.readline()).split()
    if len(words) < 3:
        return None
    headers: dict[str, str] = {}
    size = 0
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        if (size := size + len(line)) > LARGEST_HEADERS:
            raise ValueError("The headers are too large.")
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return words[1].decode("latin-1"), headers


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """
    Read the body of a request, after its head.

    Raises:
        ValueError: It is too large.
    """
    size = int(headers.get("content-length") or 0)
    if not 0 <= size <= _LARGEST:
        raise ValueError("The message is too large.")
    return await reader.readexactly(size)
