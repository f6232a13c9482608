"""Ranks: the processes of a distributed model, and the worker that each of them has."""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import inspect
import io
import json
import os
import pickle
import queue
import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

#: Ends what a worker streams.
_END = object()


class DistributedWorker:
    """
    The part of a distributed model that one process runs. Subclass it, and write ``setup``
    and ``__call__``.

    Attributes:
        rank: The number of the process.

        world_size: How many processes there are.

        queue: What was added for the caller of ``stream``.

        loop: The event loop of the worker, on a thread of its own.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size
        self.queue: queue.Queue[Any] = queue.Queue()
        self.loop = asyncio.new_event_loop()
        # The device of CUDA is one of a thread: all plain functions run on the same.
        self._plain = ThreadPoolExecutor(1, initializer=self._take_device)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    @property
    def device(self) -> Any:
        """The device of this process: its GPU, or the CPU where there is none."""
        import torch

        has_gpu = torch.cuda.is_available()
        return torch.device(f"cuda:{self.rank}" if has_gpu else "cpu")

    @property
    def running(self) -> bool:
        """Whether the event loop runs."""
        return self.thread.is_alive()

    def setup(self, **kwargs: Any) -> Any:
        """Prepare what calls need, with the arguments of the runner's ``start``."""

    def teardown(self) -> Any:
        """Clean up, after the last call."""

    def __call__(self, streaming: bool = False, **kwargs: Any) -> Any:
        """Answer a payload, given as keyword arguments. What rank 0 returns is the result."""
        return {}

    def initialize(self, **kwargs: Any) -> None:
        """Run ``setup``."""
        self.run_in_worker(self.setup, **kwargs).result()

    def shutdown(self, timeout: float | None = None) -> None:
        """Run ``teardown``, whose error is printed, and end the event loop."""
        if not self.running:
            return
        try:
            self.run_in_worker(self.teardown).result()
        except Exception:
            self.rank_print(f"teardown has failed:\n{traceback.format_exc()}")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout)
        self._plain.shutdown(wait=False)

    def run_in_worker(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function, or a coroutine function in the event loop, and return its future."""
        called: Any = func if inspect.isroutine(func) else type(func).__call__
        if inspect.iscoroutinefunction(called):
            return self.submit(func(*args, **kwargs))
        return self._plain.submit(func, *args, **kwargs)

    def submit(self, coro: Coroutine[Any, Any, Any]) -> Future[Any]:
        """
        Run a coroutine in the event loop, and return its future.

        Raises:
            RuntimeError: The event loop has ended.
        """
        if not self.running:
            coro.close()
            raise RuntimeError("The worker was shut down.")
        return asyncio.run_coroutine_threadsafe(coro, self.loop)

    def add_streaming_result(
        self, result: Any, image_format: str = "jpeg", as_text_event: bool = False
    ) -> None:
        """Send *result* to the caller of ``stream``, as an event of text if that is asked for."""
        self.queue.put(text_event(result, image_format) if as_text_event else result)

    def add_streaming_error(self, error: Exception) -> None:
        """Send the caller of ``stream`` what has failed."""
        self.queue.put({"error": str(error)})

    def rank_print(self, message: str, debug: bool = False) -> None:
        """Print *message* with the rank."""
        print(f"{'[debug] ' if debug else ''}[rank {self.rank}] {message}", flush=True)

    def _take_device(self) -> None:
        device = self.device
        if device.type == "cuda":
            import torch

            torch.cuda.set_device(device)


def text_event(value: Any, image_format: str = "jpeg") -> bytes:
    """Return *value* as an event of a stream: images as data URLs, arrays as lists."""

    def encode(each: Any) -> Any:
        if hasattr(each, "tolist"):
            return each.tolist()
        if not (hasattr(each, "save") and hasattr(each, "size")):
            raise TypeError(f"{type(each).__name__} cannot be a part of an event of text.")
        with io.BytesIO() as file:
            each.save(file, image_format)
            content = base64.b64encode(file.getvalue()).decode()
        kind = f"image/{image_format}"
        width, height = each.size
        url = f"data:{kind};base64,{content}"
        return {"content_type": kind, "width": width, "height": height, "url": url}

    return f"data: {json.dumps(value, default=encode)}\n\n".encode()


def run_rank(
    connection: Connection,
    worker_class: type[DistributedWorker],
    variables: Mapping[str, str],
    timeout: float,
    folder: str | None,
    arguments: bytes,
) -> None:
    """Be a process of a distributed model, until its runner says so or is gone."""
    os.environ.update(variables)
    if folder is not None:
        os.chdir(folder)
    import torch
    import torch.distributed as group

    rank, size = int(variables["RANK"]), int(variables["WORLD_SIZE"])
    tell = functools.partial(_tell, connection)
    has_gpus = torch.cuda.is_available()
    try:
        if has_gpus:
            torch.cuda.set_device(rank)
        group.init_process_group(
            "nccl" if has_gpus else "gloo",
            rank=rank,
            world_size=size,
            timeout=datetime.timedelta(seconds=timeout),
        )
        worker = worker_class(rank, size)
        worker.initialize(**pickle.loads(arguments))
    except BaseException as error:
        print(f"[rank {rank}] could not be set up:\n{traceback.format_exc()}", flush=True)
        return tell(0, "failed", error)
    tell(0, "ready")
    try:
        while True:
            number, payload, options = pickle.loads(connection.recv_bytes())
            if payload is None:
                break
            _answer(worker, payload, options, functools.partial(tell, number))
    except EOFError:
        # The runner is gone.
        pass
    worker.shutdown()
    group.destroy_process_group()


def _answer(
    worker: DistributedWorker,
    payload: dict[str, Any],
    options: Mapping[str, bool],
    tell: Callable[..., None],
) -> None:
    """Run a call. What rank 0 streams and returns is told, and of each rank that it is done."""
    streams, as_text = options["streaming"], options["as_text_events"]
    image_format = payload.get("image_format", "jpeg")
    try:
        call = worker.run_in_worker(worker, **{**payload, "streaming": streams})
        call.add_done_callback(lambda _: worker.queue.put(_END))
        while (item := worker.queue.get()) is not _END:
            if streams and worker.rank == 0:
                tell("item", item)
        result = call.result()
    except Exception as error:
        worker.rank_print(f"A call has failed:\n{traceback.format_exc()}")
        result = {"error": str(error)}
    if worker.rank == 0:
        tell("item", text_event(result, image_format) if as_text else result)
    tell("done")


def _tell(connection: Connection, number: int, kind: str, value: Any = None) -> None:
    try:
        told = pickle.dumps((number, kind, _on_cpu(value)))
    except Exception as error:
        if kind != "failed":
            value = {"error": f"The result cannot be sent: {error}"}
        else:
            value = RuntimeError(f"{type(value).__name__}: {value}")
        told = pickle.dumps((number, kind, value))
    connection.send_bytes(told)


def _on_cpu(value: Any) -> Any:
    """Return *value* with tensors that are on no device of a process."""
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_on_cpu(each) for each in value)
    return value.detach().cpu() if hasattr(value, "detach") else value
