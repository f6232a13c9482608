"""A control plane in a thread of its own."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import programs
from isolate_proto import CreateUserKeyRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE
from programs import connect, to_metadata

from fal_core_worker.serving import networks
from fal_server.access.permissions import permissions_of
from fal_server.commands.event_loops import make_loop
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory
from fal_server.store.accounts import add_member, make_account
from fal_server.store.keys import make_key

T = TypeVar("T")


class Plane:
    """A control plane that runs in a thread of its own, with its event loop."""

    def __init__(self, data: Path, **settings: Any) -> None:
        # Where there are no network namespaces, private applications are served nevertheless.
        settings.setdefault("allow_open_runners", bool(networks.missing()))
        if programs.find_database is not None:
            settings.setdefault("database", programs.find_database(data))
        self.settings = ServerSettings(data=data, port=0, drain=1.0, **settings)
        self.directory = DataDirectory(data)
        self._loop = make_loop()
        #: What callbacks and forgotten tasks have raised, which nobody else is told of.
        self._unhandled: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._unhandled.append(context))
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="plane", daemon=True
        )
        self._thread.start()
        try:
            self.plane = self.run(self._start())
        except BaseException:
            self._stop_loop()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* in the loop of the control plane."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def here(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call *work* in the loop of the control plane."""

        async def call() -> T:
            return work(*arguments)

        return self.run(call())

    @property
    def address(self) -> str:
        """The host and port of its API."""
        return f"127.0.0.1:{self.plane.ports['api']}"

    @property
    def key(self) -> str:
        """The key of its owner."""
        return self.directory.read_key()

    def add_user(self, nickname: str, *, preset: str = "FULL", team: str = "") -> str:
        """Make a user, and return a key of theirs."""

        def make(connection: Any) -> str:
            account = make_account(connection, "user", nickname)
            if team:
                make_account(connection, "team", team)
                add_member(connection, team, nickname)
            return make_key(connection, account.id, permissions_of(preset)).text

        return self.run(self.plane.database.write(make))

    def call(self, name: str, request: Any, *, key: str | None = None) -> Any:
        """Call a procedure that answers with one message, in plain text."""
        with grpc.insecure_channel(self.address) as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            return answer(request, metadata=to_metadata(key or self.key), timeout=PATIENCE)

    def code_of(self, name: str, request: Any, *, key: str | None = None) -> grpc.StatusCode:
        """Call a procedure that answers with one message, and return the status code."""
        try:
            self.call(name, request, key=key)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK

    def make_key(self, *, key: str | None = None, **wanted: Any) -> str:
        """Create a key by the procedure for that, and return it."""
        made = self.call("CreateUserKey", CreateUserKeyRequest(**wanted), key=key)
        return f"{made.key_id}:{made.key_secret}"

    def stream(
        self, name: str, request: Any, *, key: str | None = None, **metadata: str
    ) -> Iterator[Any]:
        """Call a procedure that answers with many messages, in plain text."""
        told = (*to_metadata(key or self.key), *metadata.items())
        with grpc.insecure_channel(self.address) as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            yield from answer(request, metadata=told, timeout=PATIENCE)

    def call_within(self, seconds: float, name: str, request: Any) -> None:
        """Call a procedure that answers with many messages, and go after so many seconds."""
        with grpc.insecure_channel(self.address) as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            for _ in answer(request, metadata=to_metadata(self.key), timeout=seconds):
                pass

    def client(self, key: str | None = None) -> httpx.Client:
        """Return a client of its HTTP side, in plain text."""
        return connect(self.address, key or self.key)

    def close(self) -> None:
        """
        End it.

        Raises:
            AssertionError: A callback of its loop has raised an exception, it does not end,
                or it leaves a task.
        """
        try:
            self.run(self._end())
        except (TimeoutError, FuturesTimeoutError) as error:
            raise AssertionError(f"It does not end:\n{self._describe()}") from error
        finally:
            self._stop_loop()
        assert not self._unhandled, self._unhandled

    async def _start(self) -> ControlPlane:
        plane = ControlPlane.create(self.settings)
        await plane.start()
        return plane

    async def _end(self) -> None:
        await self.plane.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"It leaves tasks:\n{self._describe()}"

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"Its loop does not end:\n{self._describe()}"
        self._loop.close()

    def _describe(self) -> str:
        """Return where its threads and its tasks are."""
        told = io.StringIO()
        frames = sys._current_frames()
        for thread in threading.enumerate():
            print(f"Thread {thread.name}:", file=told)
            traceback.print_stack(frames.get(thread.ident or 0), file=told)
        for task in asyncio.all_tasks(self._loop):
            task.print_stack(file=told)
        return told.getvalue()
