"""Runners: what starts the processes of a distributed model, calls it, and ends it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import pickle
import socket
import threading
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection, wait
from typing import Any

from fal_compat.distributed.ranks import DistributedWorker, run_rank

#: Seconds until it is looked again whether to go on waiting.
_TICK = 0.2

#: Seconds that a process may take to end once its pipe has.
_EXIT = 10


class DistributedRunner:
    """
    A distributed model: *world_size* processes on this machine, each with a worker.

    Arguments:
        worker_cls: The class of the workers.

        master_addr, master_port: Where the processes find each other. Another port is taken
            if this one is in use.

        timeout: Seconds that an operation of the processes on each other may take.

        keepalive_payload: What the model is called with when it was not called for
            *keepalive_interval* seconds.

        cwd: The directory of the processes.

        worker_addr, worker_port, set_device: Have no effect: the processes have pipes.
    """

    def __init__(
        self,
        worker_cls: type[DistributedWorker] = DistributedWorker,
        world_size: int = 1,
        master_addr: str = "127.0.0.1",
        master_port: int = 29500,
        worker_addr: str = "127.0.0.1",
        worker_port: int | None = None,
        timeout: int = 86400,
        keepalive_payload: dict[str, Any] = {},  # noqa: B006  # it is not changed
        keepalive_interval: float | None = None,
        cwd: str | os.PathLike[str] | None = None,
        set_device: bool | None = None,
    ) -> None:
        self.worker_cls = worker_cls
        self.world_size = world_size
        self.master_addr = master_addr
        self.master_port = master_port
        self.timeout = timeout
        self.keepalive_payload = keepalive_payload
        self.keepalive_interval = keepalive_interval
        self.cwd = cwd
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._errors: list[Exception] = []
        self._number = 0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    # -- life ----------------------------------------------------------------------------

    async def start(self, timeout: float = 1800, **kwargs: Any) -> None:
        """
        Start the processes, and wait until ``setup`` of all workers has ended.

        Arguments:
            kwargs: The arguments of ``setup``.

        Raises:
            RuntimeError: They run already, or one has failed.

            TimeoutError: They are not ready within *timeout* seconds.
        """
        if self.is_alive():
            raise RuntimeError("The distributed model was started already.")
        self.terminate()
        self._errors.clear()
        self.master_port = _free_port(self.master_addr, self.master_port)
        methods = multiprocessing.get_context("spawn")
        folder = None if self.cwd is None else os.fspath(self.cwd)
        for rank in range(self.world_size):
            here, there = methods.Pipe()
            variables = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self.world_size),
                "MASTER_ADDR": self.master_addr,
                "MASTER_PORT": str(self.master_port),
            }
            told = (there, self.worker_cls, variables, self.timeout, folder)
            process = methods.Process(target=run_rank, args=(*told, pickle.dumps(kwargs)))
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)
        # Else the end of this process would wait for them.
        atexit.register(self.terminate)
        try:
            await self._follow(0, "ready", timeout)
        except BaseException:
            self.terminate()
            raise
        self.maybe_start_keepalive()

    async def stop(self, timeout: float = 10) -> None:
        """
        Have the workers clean up, and end the processes, at the latest after *timeout*
        seconds.

        Raises:
            RuntimeError: They do not run.
        """
        self.ensure_alive()
        self.maybe_cancel_keepalive()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send_bytes(pickle.dumps((0, None, {})))
        until = time.monotonic() + timeout
        for process in self._processes:
            await asyncio.to_thread(process.join, max(until - time.monotonic(), 0))
        self.terminate()

    def terminate(self, timeout: float = 10) -> None:
        """End the processes; those that have not ended after *timeout* seconds are killed."""
        self.maybe_cancel_keepalive()
        atexit.unregister(self.terminate)
        processes, self._processes = self._processes, []
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout)
            if process.is_alive():
                process.kill()
                process.join()
        for connection in self._connections:
            connection.close()
        self._connections = []

    def is_alive(self) -> bool:
        """Tell whether all processes run."""
        return bool(self._processes) and all(each.is_alive() for each in self._processes)

    def ensure_alive(self) -> None:
        """
        Raise an error if a process does not run.

        Raises:
            RuntimeError: One does not.
        """
        if not self.is_alive():
            errors = self.gather_errors()
            told = "; ".join(f"{type(each).__name__}: {each}" for each in errors)
            raise RuntimeError(
                "The processes of the distributed model do not run"
                + (f". It has failed: {told}" if told else ": it was not started, or it ended.")
            ) from (errors[0] if errors else None)

    def gather_errors(self) -> list[Exception]:
        """Return the errors of workers that could not be set up, once."""
        errors, self._errors = self._errors, []
        return errors

    async def __aenter__(self) -> DistributedRunner:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.is_alive():
            await self.stop()
        self.terminate()

    # -- calls ---------------------------------------------------------------------------

    async def invoke(
        self,
        payload: dict[str, Any] = {},  # noqa: B006  # it is not changed
        timeout: float | None = None,
    ) -> Any:
        """
        Call the model, and return the result of rank 0; one that has failed is a dictionary
        with an ``error``.

        Raises:
            TimeoutError: It takes longer than *timeout* seconds.

            RuntimeError: A process has ended.
        """
        options = {"streaming": False, "as_text_events": False}
        [result] = [each async for each in self._call(payload, options, timeout, None)]
        return result

    async def stream(
        self,
        payload: dict[str, Any] = {},  # noqa: B006  # it is not changed
        timeout: float | None = None,
        streaming_timeout: float | None = None,
        as_text_events: bool = False,
    ) -> AsyncIterator[Any]:
        """
        Call the model, and yield what rank 0 streams and then its result.

        Arguments:
            streaming_timeout: Seconds between two of them.

            as_text_events: Whether they are bytes: events of a stream.
        """
        options = {"streaming": True, "as_text_events": as_text_events}
        async for each in self._call(payload, options, timeout, streaming_timeout):
            yield each

    async def _call(
        self,
        payload: dict[str, Any],
        options: dict[str, bool],
        timeout: float | None,
        pause: float | None,
    ) -> AsyncIterator[Any]:
        # Calls come from several event loops, none of which may stand still.
        while not self._lock.acquire(blocking=False):
            await asyncio.sleep(0.01)
        try:
            self.ensure_alive()
            self.maybe_cancel_keepalive()
            self._number += 1
            told = pickle.dumps((self._number, payload, options))
            for connection in self._connections:
                connection.send_bytes(told)
            async for item in self._items(self._number, "done", timeout, pause):
                yield item
        finally:
            self._lock.release()
            self.maybe_start_keepalive()

    async def _follow(self, number: int, end: str, timeout: float | None) -> None:
        async for _ in self._items(number, end, timeout, None):
            pass

    async def _items(
        self, number: int, end: str, timeout: float | None, pause: float | None
    ) -> AsyncIterator[Any]:
        """Yield the items of call *number*, until each rank has told that it is at the *end*."""
        left = set(self._connections)
        began = last = time.monotonic()
        while left:
            ready = await asyncio.to_thread(wait, [*left], _TICK)
            for connection in ready:
                kind, value = self._read(connection, number)
                if kind == "item":
                    last = time.monotonic()
                    yield value
                elif kind == end:
                    left.discard(connection)
            now = time.monotonic()
            if timeout is not None and now - began > timeout:
                raise TimeoutError(f"The distributed model took longer than {timeout:g} s.")
            if pause is not None and now - last > pause:
                raise TimeoutError(f"The distributed model was silent for {pause:g} s.")
            if not ready:
                self.ensure_alive()

    def _read(self, connection: Any, number: int) -> tuple[str, Any]:
        try:
            of, kind, value = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            # It is about to be gone.
            self._processes[self._connections.index(connection)].join(_EXIT)
            raise RuntimeError("A process of the distributed model has ended.") from None
        if kind == "failed":
            self._errors.append(value)
            raise RuntimeError("A worker could not be set up.") from value
        # What is left of a call that nobody waits for any more is passed over.
        return (kind, value) if of == number else ("", None)

    # -- kept alive ----------------------------------------------------------------------

    def keepalive(self, timeout: float | None = 60.0) -> None:
        """Call the model with the payload for that."""
        self.maybe_cancel_keepalive()
        asyncio.run(self.invoke(self.keepalive_payload, timeout))

    def maybe_start_keepalive(self) -> None:
        """Begin to wait until the model is to be kept alive, where that is asked for."""
        if self.keepalive_interval is not None and self._timer is None and self.is_alive():
            self._timer = threading.Timer(self.keepalive_interval, self.keepalive)
            self._timer.daemon = True
            self._timer.start()

    def maybe_cancel_keepalive(self) -> None:
        """Wait for that no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def maybe_reset_keepalive(self) -> None:
        """Wait from now on."""
        if self._timer is not None:
            self.maybe_cancel_keepalive()
            self.maybe_start_keepalive()


def _free_port(address: str, port: int) -> int:
    """Return *port*, or a free one if it is in use."""
    for each in (port, 0):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tried.bind((address, each))
                return int(tried.getsockname()[1])
    return port
