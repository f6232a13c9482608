"""
The far end: what a stock isolate agent runs for a call.

The source of this module travels inside the pickle and is executed there, so it needs
nothing but the standard library. It unpacks the worker's source, opens the function
with it, and returns plain values: how the call ended, and what the worker sealed.
The agent may be of any Python, since nothing in the pickle is compiled.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from typing import Any

#: Says that what the agent returns is an outcome of this version.
OUTCOME = "fal-core outcome 1"
#: Begins a line that says whose the following lines are; people do not type it.
MARK = "\x1efal-core "
#: Keeps what was opened for the calls that follow in the same agent.
KEPT = "fal_core_arrival_kept"
#: How many functions an agent keeps open.
SLOTS = 64
#: Seconds to wait until the agent has read what was printed.
PATIENCE = 1.0

_STARTED, _ITEM, _OUTCOME = 33, 35, 38


class Arrival:
    """
    A call that has arrived. Calling it runs the function.

    The agent awaits what a service returns on its main thread, where it can be told
    to end; any other call has a thread.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts
        self.__name__ = parts["name"]
        self._run_on_main_thread = parts["serve"]

    def __call__(
        self, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> Any:
        ports = (exposed_port, exposed_metrics_port)
        if self.parts["serve"]:
            return serve(self.parts, ports)
        return run(self.parts, ports)


class Frames:
    """
    Takes what the worker would write to its stream.
    """

    def __init__(self) -> None:
        self.outcome: tuple[int, Any, list[bytes]] | None = None
        self.items: list[tuple[int, int, Any, list[bytes]]] = []

    def send(
        self,
        kind: int,
        channel: int = 0,
        a: int = 0,
        b: int = 0,
        data: Any = b"",
        buffers: Any = (),
    ) -> None:
        copies = [bytes(buffer) for buffer in buffers]
        if kind == _OUTCOME:
            self.outcome = (a, bytes(data), copies)
        elif kind == _ITEM:
            self.items.append((a, b, bytes(data), copies))


class Output:
    """
    A standard stream that says whose its lines are, and knows how its last one ends.
    """

    def __init__(self, stream: Any, owner: Any) -> None:
        self.stream = stream
        self.owner = owner
        self.told = ""
        self.open = False
        self.lock = threading.RLock()

    def write(self, text: str) -> int:
        with self.lock:
            owner = self.owner()
            if text and owner != self.told:
                if self.open:
                    self.stream.write("\n")
                self.stream.write(f"{MARK}{owner}\n")
                self.told, self.open = owner, False
            self.stream.write(text)
            if text:
                self.open = not text.endswith("\n")
            if not self.open:
                self.stream.flush()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def finish(self) -> None:
        """
        End the last line.
        """
        with self.lock:
            if self.open:
                self.stream.write("\n")
                self.open = False
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Runner:
    """
    What code of a call finds of the host that it runs on.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        self.index = ""
        self.batch = parts["batch"]
        self.marked = parts["marked"]
        self.drain: Any = None
        self.draining = False
        self.output = self
        #: Services answer to whoever reaches the machine, not to it alone.
        self.address = parts["address"]

    def owner(self) -> str:
        """
        Return whose the line is that this code prints.
        """
        if not self.marked:
            return ""
        if self.batch:
            return self.index
        services = sys.modules.get("fal_core_worker.services")
        request = services.request_id.get() if services is not None else ""
        return f"request {request}" if request else ""

    def write(self, level: str, line: str) -> None:
        stream = sys.stderr if level in ("WARNING", "ERROR", "STDERR") else sys.stdout
        stream.write(f"{line}\n")

    def call_home(self, number: int, args: Any, kwargs: Any) -> Any:
        raise RuntimeError(
            "A function on a serverless host cannot call home: nothing leads back to the "
            "process that launched it. Call functions of the same options, which run in "
            "place, or call the other one where this one was called."
        )

    def announce(self, urls: dict[str, str]) -> None:
        """
        Do nothing: the service knows by the port where it answers.
        """

    def run_service(self, service: Any, loop: Any, drain: Any) -> None:
        """
        Run a service in *loop*, on the thread of the call.
        """
        import asyncio

        asyncio.set_event_loop(loop)
        self.drain = lambda: loop.call_soon_threadsafe(drain)
        if self.draining:
            loop.call_soon(drain)
        try:
            loop.run_until_complete(service)
        finally:
            self.drain = None
            asyncio.set_event_loop(None)
            loop.close()


def kept() -> Any:
    """
    Return what is kept between calls.
    """
    module = sys.modules.get(KEPT)
    if module is None:
        module = types.ModuleType(KEPT)
        module.__dict__.update(slots={}, functions=None, paths={})
        module = sys.modules.setdefault(KEPT, module)
    return module


def unpack(digest: str, packed: bytes, find: Any) -> str:
    """
    Return where the archive *digest* is unpacked.
    """
    import zlib

    paths = kept().paths
    if digest not in paths:
        paths[digest] = find(digest, zlib.decompress(packed))
    found: str = paths[digest]
    return found


def prepare(parts: dict[str, Any]) -> Any:
    """
    Make the worker's modules importable, and return the functions that are open.
    """
    state = kept()
    space: dict[str, Any] = {"__name__": "fal_core_archives"}
    exec(parts["archives"], space)
    path = unpack(*parts["worker"], space["unpack"])
    loaded = sys.modules.get("fal_core_worker")
    if loaded is None or not str(loaded.__file__).startswith(path):
        # Another version may have come with an earlier call.
        _forget("fal_core_worker")
        state.slots, state.functions = {}, None
        _import_first(path, parts["cloudpickle"])
    for digest, packed in parts["sources"]:
        source = unpack(digest, packed, space["unpack"])
        if source not in sys.path:
            sys.path.append(source)
    if state.functions is None:
        from fal_core_worker.slots import Functions

        state.functions = Functions()
    return state


def _forget(package: str) -> None:
    for name in [*sys.modules]:
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]


def _import_first(path: str, version: str) -> None:
    """
    Import the worker from *path*, with the sealer's cloudpickle, and what follows last.
    """
    other = sys.modules.get("cloudpickle")
    if other is not None and getattr(other, "__version__", "") != version:
        _forget("cloudpickle")
    sys.path.insert(0, path)
    try:
        import cloudpickle  # noqa: F401
        import fal_core_worker.main  # noqa: F401
    finally:
        sys.path.remove(path)
        sys.path.append(path)


def find_function(parts: dict[str, Any]) -> tuple[Any, Any]:
    """
    Return what to call, with its setup done, and the function itself.
    """
    import marshal

    state = kept()
    function, setup = parts["function"], parts["setup"]
    key = (function[0], setup and setup[0])
    if key not in state.slots:
        if len(state.slots) >= SLOTS:
            oldest = next(iter(state.slots))
            slot = state.slots.pop(oldest)
        else:
            slot = len(state.slots)
        state.functions.put(slot, marshal.dumps((*function, setup), 2))
        state.slots[key] = slot
    found: tuple[Any, Any] = state.functions.get(state.slots[key])
    return found


def run(parts: dict[str, Any], ports: Any, runner: Runner | None = None) -> Any:
    """
    Run the call, and return how it ended.
    """
    enter(parts["folder"], parts["current_folder"])
    prepare(parts)
    from fal_core_worker import nested

    runner = runner or Runner(parts)
    before, nested.runner = nested.runner, runner
    streams = sys.stdout, sys.stderr
    outputs = [Output(stream, runner.owner) for stream in streams]
    sys.stdout, sys.stderr = outputs  # type: ignore[assignment]
    frames = Frames()
    try:
        _run(parts, ports, frames, runner)
    finally:
        for output in outputs:
            output.finish()
        sys.stdout, sys.stderr = streams
        nested.runner = before
        wait_until_read()
    return OUTCOME, frames.outcome, frames.items


def _run(parts: dict[str, Any], ports: Any, frames: Any, runner: Runner) -> None:
    from fal_core_worker import opening
    from fal_core_worker.seals import Sealed
    from fal_core_worker.slots import send_error, send_value

    raw = None
    try:
        function, raw = find_function(parts)
        arguments = opening.open_arguments(Sealed(*parts["arguments"]), raw)
        value = None
        if parts["batch"]:
            run_batch(function, raw, arguments, frames, runner)
        else:
            args, kwargs = arguments
            for name, port in zip(("exposed_port", "exposed_metrics_port"), ports):
                if port is not None:
                    kwargs[name] = port
            value = finish(function(*args, **kwargs))
    except BaseException as error:
        if isinstance(error, SystemExit) and runner.draining:
            send_value(frames, 0, None, raw)
        else:
            send_error(frames, 0, error, raw)
    else:
        send_value(frames, 0, value, raw)


def run_batch(function: Any, raw: Any, calls: Any, frames: Any, runner: Runner) -> None:
    """
    Run the items of a batch one after the other.
    """
    from fal_core_worker import opening
    from fal_core_worker.slots import RAISED, VALUE, send_items

    outcomes: list[tuple[int, Any]] = []
    for index, (args, kwargs) in enumerate(calls):
        runner.index = f"item {index}"
        try:
            outcomes.append((VALUE, finish(function(*args, **kwargs))))
        except BaseException as error:
            outcomes.append((RAISED, opening.seal_error(error, raw).data))
    send_items(frames, 0, outcomes, 0, raw)


def finish(value: Any) -> Any:
    """
    Run what a function left to be run.
    """
    if isinstance(value, types.CoroutineType):
        import asyncio

        return asyncio.run(value)
    if isinstance(value, (types.GeneratorType, types.AsyncGeneratorType)):
        raise TypeError(
            "A serverless host gives a call's result once it has ended, so a function "
            "that yields cannot run there. Return a list, or serve the function."
        )
    return value


def serve(parts: dict[str, Any], ports: Any) -> Any:
    """
    Return a coroutine that serves until it is done, or the agent is told to end.
    """
    import asyncio
    import signal

    ends: asyncio.Future[Any]

    async def wait() -> Any:
        loop = asyncio.get_running_loop()
        runner = Runner(parts)

        def drain(number: int, frame: Any) -> None:
            runner.draining = True
            if runner.drain is not None:
                runner.drain()

        before = signal.signal(signal.SIGTERM, drain)
        done = loop.create_future()

        def work() -> None:
            try:
                value, error = run(parts, ports, runner), None
            except BaseException as raised:
                value, error = None, raised
            loop.call_soon_threadsafe(tell, value, error)

        def tell(value: Any, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

        threading.Thread(target=work, name="service", daemon=True).start()
        try:
            return await done
        finally:
            signal.signal(signal.SIGTERM, before)

    return wait()


def enter(folder: str | None, current: bool) -> None:
    """
    Let the files that came with the function be found.

    Arguments:
        folder: Where in ``/app`` the function's own file is. None without files.

        current: Whether modules of the working directory are importable.
    """
    if current and "" not in sys.path:
        sys.path.insert(0, "")
    if folder is None or not os.path.isdir("/app"):
        return
    path = os.path.normpath(os.path.join("/app", folder))
    os.makedirs(path, exist_ok=True)
    for each in (path, "/app"):
        if each not in sys.path:
            sys.path.append(each)
    os.chdir(path)


def wait_until_read() -> None:
    """
    Wait until the agent's parent has read what was printed.

    What it reads after the result it takes for the next call's.
    """
    import struct
    import time

    try:
        import fcntl
        import termios
    except ImportError:
        return
    until = time.monotonic() + PATIENCE
    for descriptor in (1, 2):
        try:
            while time.monotonic() < until:
                answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
                if not struct.unpack("i", answer)[0]:
                    break
                time.sleep(0.001)
        except OSError:
            continue
    time.sleep(0.005)
