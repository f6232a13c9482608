"""
The call that a stock isolate agent runs.

The source of this module travels inside the pickle and is executed there, so it needs
only the standard library. It unpacks the worker's source, opens the function with it,
and returns built-in values: how the call ended, and the outcome that the worker sealed.
The agent may be of any Python, since nothing in the pickle is compiled.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_core_worker.current import Runtime
    from fal_host_serverless.far_end.controls import CallControl

#: Marks the result of an agent as an outcome of this version.
OUTCOME = "fal-core outcome 1"
#: The result of an agent that lacks an archive that was left out.
LACKS = "fal-core lacks an archive 1"
#: The module that keeps open functions for later calls in the same agent.
KEPT = "fal_core_far_end_kept"
#: The module that keeps the namespaces of executed sources, by their texts.
DEFINED = "fal_core_defined"
#: The variable with the process id of an agent that reads all output by itself.
READS = "FAL_CORE_AGENT"
#: The number of functions that an agent keeps open.
SLOTS = 64


class SentCall:
    """
    A call in the agent. Calling it runs the function.

    The agent awaits it on its main thread, which handles signals that end the call;
    the function itself runs on another thread.
    """

    _run_on_main_thread = True

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts
        self.__name__: str = parts["name"]
        # The agent looks in the signature for where the function may listen.
        if not parts["serve"]:
            self.__signature__: inspect.Signature = inspect.Signature()
        elif not parts["takes_socket"]:
            whole = inspect.signature(type(self).__call__)
            ports = [each for each in whole.parameters.values() if "port" in each.name]
            self.__signature__ = whole.replace(parameters=ports)

    def __call__(
        self,
        exposed_port: int | None = None,
        exposed_metrics_port: int | None = None,
        exposed_socket: str | None = None,
    ) -> Any:
        import asyncio

        ports = (exposed_port, exposed_metrics_port)
        controls = define(self.parts["controls"], "fal_core_controls")
        control = controls["CallControl"](self.parts)
        if exposed_socket is not None:
            control.address = f"unix:{exposed_socket}"
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # An older agent, which does not run calls on its main thread.
            return run(self.parts, ports, control)
        return controls["run_controlled"](control, lambda: run(self.parts, ports, control))


class OutcomeFrames:
    """Takes the frames that the worker would write to its stream, and keeps the outcome."""

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
    """Return the module that keeps open functions and unpacked archives between calls."""
    module = sys.modules.get(KEPT)
    if module is None:
        module = types.ModuleType(KEPT)
        module.__dict__.update(slots={}, functions=None, paths={}, guarded=False)
        module = sys.modules.setdefault(KEPT, module)
    return module


def define(source: str, name: str) -> dict[str, Any]:
    """Return the namespace of *source*, which is executed once in a process."""
    known = sys.modules.setdefault(DEFINED, types.ModuleType(DEFINED)).__dict__
    if source not in known:
        space: dict[str, Any] = {"__name__": name}
        exec(compile(source, f"<{name}>", "exec"), space)
        known.setdefault(source, space)
    defined: dict[str, Any] = known[source]
    return defined


class MissingArchive(Exception):
    """An archive was left out of the call, and the agent does not have it."""


def unpack(digest: str, packed: bytes | None, archives: dict[str, Any]) -> str:
    """
    Return the folder of the archive *digest*, unpacking it if need be.

    Raises:
        MissingArchive: It was left out, and the agent does not have it.
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
                raise MissingArchive
    found: str = paths[digest]
    return found


def prepare(parts: dict[str, Any]) -> Any:
    """Make the worker's modules importable, and return the state kept between calls."""
    state = kept()
    space = define(parts["archives"], "fal_core_archives")
    if not state.guarded:
        state.guarded = True
        define(parts["agent_sockets"], "fal_core_agent_sockets")["close_in_children"]()
    digest, packed = parts["worker"]
    path = unpack(digest, packed, space)
    loaded = sys.modules.get("fal_core_worker")
    if loaded is None or not str(loaded.__file__).startswith(path):
        # An earlier call may have brought another version.
        _forget("fal_core_worker")
        state.slots, state.functions = {}, None
        _import_first(path, parts["cloudpickle"])
    for digest, packed in parts["sources"]:
        if space["add_path"](unpack(digest, packed, space)):
            # A module was edited, and open functions have what it was before.
            state.slots, state.functions = {}, None
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
    Import the worker from *path*, with the sealer's cloudpickle, before anything else.

    Afterwards *path* is the last place that imports are looked for.
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
    """Return the key of an open function."""
    function, setup = parts["function"], parts["setup"]
    return function[0], setup and setup[0]


def is_open(parts: dict[str, Any]) -> bool:
    """Return whether an earlier call has opened the function."""
    return key_of(parts) in kept().slots


def find_function(parts: dict[str, Any]) -> tuple[Any, Any]:
    """Return the callable, with its setup done, and the function as it was written."""
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


def run(parts: dict[str, Any], ports: Any, control: CallControl) -> Any:
    """Run the call, and return how it ended with its sealed outcome."""
    enter(parts["folder"], parts["current_folder"])
    try:
        prepare(parts)
    except MissingArchive:
        return (LACKS,)
    from fal_core_worker import current
    from fal_core_worker.output import records

    records.install()
    before, current.runtime = current.runtime, control
    output = None
    if parts["followed"]:
        output = capture(parts, control, before)
    if output is not None:
        control.output = output.output
        control.mark = output.mark
    frames = OutcomeFrames()
    try:
        _run(parts, ports, frames, control)
    finally:
        current.runtime = before
        if output is not None:
            output.finish()
    return OUTCOME, *frames.outcome


def capture(parts: dict[str, Any], control: CallControl, before: Runtime | None) -> Any:
    """
    Capture the output of the call, so that it is sent line by line.

    Arguments:
        before: What the worker's modules found before, if the agent itself runs in a
            worker.
    """
    marked = define(parts["marked_output"], "fal_core_marked_output")
    reads = os.environ.get(READS) == str(os.getpid())
    if reads and before is not None and not control.serves:
        return marked["AgentOutput"](before.output)
    return marked["CapturedOutput"](control.owner, waits=not reads)


def _run(parts: dict[str, Any], ports: Any, frames: Any, control: CallControl) -> None:
    from fal_core_worker.opening import values
    from fal_core_worker.opening.seals import Sealed
    from fal_core_worker.running.outcomes import send_error, send_value
    from fal_core_worker.stream.frames import ENDED_CANCELLED

    raw = None
    try:
        if not is_open(parts):
            control.mark("o")
        function, raw = find_function(parts)
        control.mark("s")
        args, kwargs = values.open_arguments(Sealed(*parts["arguments"]), raw)
        for name, port in zip(("exposed_port", "exposed_metrics_port"), ports, strict=True):
            if port is not None and control.serves:
                kwargs[name] = port
        try:
            control.thread = threading.get_ident()
            value = control.finish(function(*args, **kwargs))
        finally:
            control.thread = None
    except BaseException as error:
        if not parts["followed"] and isinstance(error, Exception):
            # Nobody opens the outcome; the agent reports an exception to the service.
            raise
        if not (control.ended and isinstance(error, (KeyboardInterrupt, SystemExit))):
            send_error(frames, 0, error, raw)
        elif control.serves:
            send_value(frames, 0, None, raw)
        else:
            frames.outcome = (ENDED_CANCELLED, b"", [])
    else:
        send_value(frames, 0, value, raw)


def enter(folder: str | None, current: bool) -> None:
    """
    Make the files that travel with the function importable, and enter their folder.

    Arguments:
        folder: The folder of the function's own file under ``/app``. None without files.

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
