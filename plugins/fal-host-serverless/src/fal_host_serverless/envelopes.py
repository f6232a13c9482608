"""
Envelopes: a call as the one pickle that a stock isolate agent runs.

Nothing of ours is installed there. The pickle holds the source of
:mod:`fal_host_serverless.arrival`, the worker's source, and what the core sealed, which
is not opened here: a host moves bytes.
"""

from __future__ import annotations

import functools
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

from fal_core.calls import Call, SealedFunction, SourceArchive
from fal_core.errors import HostError
from fal_core.events import Outcome, Sealed
from fal_core.sealing.sources import worker_archive
from fal_core_worker import archives
from fal_core_worker.stream import frames
from fal_host_serverless import arrival, attending, descriptors, printing
from fal_host_serverless.failures import RunFailedInside

#: Makes the callable of its source; it is all that the pickle calls. What was defined
#: for one call is used by the next ones of the same process.
_MAKE = (
    "(sys := __import__('sys'),"
    " known := sys.modules.setdefault(defined, type(sys)(defined)).__dict__,"
    " source in known or"
    " (exec(compile(source, where, 'exec'), space), known.setdefault(source, space)),"
    " known[source]['Arrival'](parts))[3]"
)


class ArchiveMissing(Exception):
    """
    An agent lacks an archive that was left out.
    """


class _Arriving:
    """
    Becomes an ``Arrival`` where it is unpickled.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        space = {"__name__": "fal_core_arrival"}
        names = {
            "source": _source(arrival.__file__),
            "space": space,
            "parts": self._parts,
            "defined": arrival.DEFINED,
            "where": "<fal_core_arrival>",
        }
        return eval, (_MAKE, names)


def seal(
    call: Call,
    *,
    folder: str | None = None,
    current_folder: bool = False,
    attended: bool = True,
    lean: bool = False,
) -> bytes:
    """
    Return *call* as a pickle of a callable that takes no arguments.

    Arguments:
        folder: Where the function's own file is among those that travel with it.

        current_folder: Whether modules of the working directory are importable.

        attended: Whether a launcher reads its lines, which say whose they are and
            arrive as they were printed, and opens its outcome. Without one the agent
            is left what it prints and raises.

        lean: Leave out archives that the agent is thought to have.
    """
    import cloudpickle

    arguments = call.arguments
    parts = {
        "name": call.name,
        "archives": _source(archives.__file__),
        "attending": _source(attending.__file__),
        "printing": _source(printing.__file__),
        "descriptors": _source(descriptors.__file__),
        "worker": _pack_archive(worker_archive(), lean=lean),
        "cloudpickle": cloudpickle.__version__,
        "sources": [_pack_archive(source, lean=lean) for source in call.sources],
        "function": _pack_function(call.function),
        "setup": None if call.setup is None else _pack_function(call.setup),
        "arguments": (bytes(arguments.data), [bytes(each) for each in arguments.buffers]),
        "serve": call.gateway.serve,
        "attended": attended,
        "folder": folder,
        "current_folder": current_folder,
        "address": "0.0.0.0",
    }
    return pickle.dumps(_Arriving(parts), 4)


def open_outcome(definition: bytes) -> Outcome | None:
    """
    Return the outcome in what the agent returned; None for a call that was interrupted.

    Raises:
        ArchiveMissing: The agent lacks what was left out, and has not begun.

        RunFailedInside: It is something else.
    """
    try:
        told = open_plain(definition)
        if told == (arrival.LACKS,):
            raise ArchiveMissing
        word, ended, data, buffers = told
        if word != arrival.OUTCOME:
            raise ValueError("it is of another version")
    except ArchiveMissing:
        raise
    except Exception as error:
        raise RunFailedInside(f"What the run returned is no outcome: {error}") from error
    if ended == frames.ENDED_CANCELLED:
        return None
    return Outcome(Sealed(data, buffers), ended == frames.ENDED_RAISED)


def open_plain(definition: bytes) -> Any:
    """
    Return what is pickled in *definition*, of built-in values and nothing else.

    Raises:
        UnpicklingError: There is something else.
    """
    return _PlainUnpickler(io.BytesIO(definition)).load()


def failure_of(value: Any) -> HostError:
    """
    Return the error of an agent that raised *value* before the function's worker ran.
    """
    text = value.exception_message or value.stringized_traceback or "It says no more."
    name = value.exception_type_name or "an exception"
    return RunFailedInside(f"The agent could not run the call: {name}: {text}")


class _PlainUnpickler(pickle.Unpickler):
    """
    Opens built-in values and nothing else.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


@functools.cache
def _source(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=64)
def _compressed(digest: str, data: bytes) -> bytes:
    return zlib.compress(data, 6)


def _pack_archive(source: SourceArchive, *, lean: bool) -> tuple[str, bytes | None]:
    return source.digest, None if lean else _compressed(source.digest, source.data)


def _pack_function(function: SealedFunction) -> tuple[Any, ...]:
    portable = None if function.portable is None else function.portable.data
    return function.digest, function.native.data, portable, function.refusal
