"""
The far end: what a stock isolate agent runs for a call.

The source of this module travels inside the pickle and is executed there, so it needs
nothing but the standard library. It unpacks the worker's source, opens the function
with it, and returns plain values: how the call ended, and what the worker sealed.
The agent may be of any Python, since nothing in the pickle is compiled.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import threading
import types
from typing import Any

#: Says that what the agent returns is an outcome of this version.
OUTCOME = "fal-core outcome 1"
#: Is all that the agent returns which lacks an archive that was left out.
LACKS = "fal-core lacks an archive 1"
#: Keeps what was opened for the calls that follow in the same agent.
KEPT = "fal_core_arrival_kept"
#: Keeps what sources define, by their texts.
DEFINED = "fal_core_defined"
#: A variable with the process of an agent that reads what was printed by itself.
READS = "FAL_CORE_AGENT"
#: How many functions an agent keeps open.
SLOTS = 64


class Arrival:
    """
    A call that has arrived. Calling it runs the function.

    The agent awaits it on its main thread, where the call can be told to end; the
    function itself has a thread of its own.
    """

    _run_on_main_thread = True

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts
        self.__name__ = parts["name"]
        if not parts["serve"]:
            # Who looks for what it takes finds that it listens where it has declared.
            self.__signature__ = inspect.Signature()

    def __call__(
        self, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> Any:
        import asyncio

        ports = (exposed_port, exposed_metrics_port)
        attending = define(self.parts["attending"], "fal_core_attending")
        runner = attending["Runner"](self.parts)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # An agent that knows of no main thread.
            return run(self.parts, ports, runner)
        return attending["attend"](runner, lambda: run(self.parts, ports, runner))


class Frames:
    """
    Takes what the worker would write to its stream: of it, the end of the call.
    """

    def __init__(self) -> None:
        self.outcome: tuple[int, bytes, list[bytes]] = (0, b"", [])

    def send(
        self,
        kind: int,
        channel: int = 0,
        a: int = 0,
        b: int = 0,
        data: Any = b"",
        buffers: Any = (),
    ) -> None:
        from fal_core_worker.stream.frames import OUTCOME

        if kind == OUTCOME:
            self.outcome = (a, bytes(data), [bytes(buffer) for buffer in buffers])


def kept() -> Any:
    """
    Return what is kept between calls.
    """
    module = sys.modules.get(KEPT)
    if module is None:
        module = types.ModuleType(KEPT)
        module.__dict__.update(slots={}, functions=None, paths={}, guarded=False)
        module = sys.modules.setdefault(KEPT, module)
    return module


def define(source: str, name: str) -> dict[str, Any]:
    """
    Return what *source* defines, which is executed once in a process.
    """
    known = sys.modules.setdefault(DEFINED, types.ModuleType(DEFINED)).__dict__
    if source not in known:
        space: dict[str, Any] = {"__name__": name}
        exec(compile(source, f"<{name}>", "exec"), space)
        known.setdefault(source, space)
    defined: dict[str, Any] = known[source]
    return defined


class Lacking(Exception):
    """
    An archive was left out, and is not here.
    """


def unpack(digest: str, packed: bytes | None, archives: dict[str, Any]) -> str:
    """
    Return where the archive *digest* is unpacked.

    Raises:
        Lacking: It was left out, and is not here.
    """
    import zlib

    paths = kept().paths
    if digest not in paths:
        if packed is not None:
            paths[digest] = archives["unpack"](digest, zlib.decompress(packed))
        else:
            paths[digest] = archives["find"](digest)
            if paths[digest] is None:
                del paths[digest]
                raise Lacking
    found: str = paths[digest]
    return found


def prepare(parts: dict[str, Any]) -> Any:
    """
    Make the worker's modules importable, and return the functions that are open.
    """
    state = kept()
    space = define(parts["archives"], "fal_core_archives")
    if not state.guarded:
        state.guarded = True
        define(parts["descriptors"], "fal_core_descriptors")["keep_connections"]()
    digest, packed = parts["worker"]
    path = unpack(digest, packed, space)
    loaded = sys.modules.get("fal_core_worker")
    if loaded is None or not str(loaded.__file__).startswith(path):
        # Another version may have come with an earlier call.
        _forget("fal_core_worker")
        state.slots, state.functions = {}, None
        _import_first(path, parts["cloudpickle"])
    for digest, packed in parts["sources"]:
        source = unpack(digest, packed, space)
        if source not in sys.path:
            sys.path.append(source)
    if state.functions is None:
        from fal_core_worker.running.slots import Functions

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
        for name in ("cloudpickle", "fal_core_worker.main"):
            importlib.import_module(name)
    finally:
        sys.path.remove(path)
        sys.path.append(path)


def key_of(parts: dict[str, Any]) -> tuple[Any, Any]:
    """
    Return what an open function is known by.
    """
    function, setup = parts["function"], parts["setup"]
    return function[0], setup and setup[0]


def is_open(parts: dict[str, Any]) -> bool:
    """
    Tell whether an earlier call has opened the function.
    """
    return key_of(parts) in kept().slots


def find_function(parts: dict[str, Any]) -> tuple[Any, Any]:
    """
    Return what to call, with its setup done, and the function itself.
    """
    import marshal

    state = kept()
    function, setup = parts["function"], parts["setup"]
    key = key_of(parts)
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


def run(parts: dict[str, Any], ports: Any, runner: Any) -> Any:
    """
    Run the call, and return how it ended.
    """
    enter(parts["folder"], parts["current_folder"])
    try:
        prepare(parts)
    except Lacking:
        return (LACKS,)
    from fal_core_worker import current

    before, current.runtime = current.runtime, runner
    printed = None
    if parts["attended"]:
        printed = catch(parts, runner, before)
    if printed is not None:
        runner.output = printed.output
        runner.mark = printed.mark
    frames = Frames()
    try:
        _run(parts, ports, frames, runner)
    finally:
        current.runtime = before
        if printed is not None:
            printed.finish()
    return OUTCOME, *frames.outcome


def catch(parts: dict[str, Any], runner: Any, before: Any) -> Any:
    """
    Have what the call prints told line by line.

    Arguments:
        before: What runs the agent, where this worker's does.
    """
    printing = define(parts["printing"], "fal_core_printing")
    reads = os.environ.get(READS) == str(os.getpid())
    if reads and before is not None and not runner.serves:
        return printing["Left"](before.output)
    return printing["Printed"](runner.owner, waits=not reads)


def _run(parts: dict[str, Any], ports: Any, frames: Any, runner: Any) -> None:
    from fal_core_worker.opening import values
    from fal_core_worker.opening.seals import Sealed
    from fal_core_worker.running.outcomes import send_error, send_value
    from fal_core_worker.stream.frames import ENDED_CANCELLED

    raw = None
    try:
        if not is_open(parts):
            runner.mark("o")
        function, raw = find_function(parts)
        runner.mark("s")
        args, kwargs = values.open_arguments(Sealed(*parts["arguments"]), raw)
        for name, port in zip(("exposed_port", "exposed_metrics_port"), ports, strict=True):
            if port is not None and runner.serves:
                kwargs[name] = port
        try:
            runner.thread = threading.get_ident()
            value = runner.finish(function(*args, **kwargs))
        finally:
            runner.thread = None
    except BaseException as error:
        if not parts["attended"] and isinstance(error, Exception):
            # Nobody opens the outcome, while the agent tells the service of an exception.
            raise
        if not (runner.ended and isinstance(error, (KeyboardInterrupt, SystemExit))):
            send_error(frames, 0, error, raw)
        elif runner.serves:
            send_value(frames, 0, None, raw)
        else:
            frames.outcome = (ENDED_CANCELLED, b"", [])
    else:
        send_value(frames, 0, value, raw)


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
