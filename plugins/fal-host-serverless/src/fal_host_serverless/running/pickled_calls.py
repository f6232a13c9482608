"""
A call as the one pickle that a stock isolate agent runs.

Nothing of ours is installed there. The pickle holds the source of
:mod:`fal_host_serverless.far_end.sent_calls`, the source of the worker, and the function
as the core sealed it, which is not opened here: a host moves bytes.
"""

from __future__ import annotations

import functools
import pickle
import zlib
from pathlib import Path
from typing import Any

from fal_core.calls import Call, SourceArchive
from fal_core.errors import HostError
from fal_core.events import Outcome, Sealed
from fal_core.sealing import load_plain, pack_function, worker_archive
from fal_core_worker import archives
from fal_core_worker.serving.services import SOCKET_MARK
from fal_core_worker.stream import frames
from fal_host_serverless.errors import InternalServerlessRunFailed
from fal_host_serverless.far_end import agent_sockets, controls, marked_output, sent_calls

#: The only expression of the pickle: makes the callable from its source. The namespace
#: of a source is used again by later calls in the same process.
_MAKE = (
    "(sys := __import__('sys'),"
    " known := sys.modules.setdefault(defined, type(sys)(defined)).__dict__,"
    " source in known or"
    " (exec(compile(source, where, 'exec'), space), known.setdefault(source, space)),"
    " known[source]['SentCall'](parts))[3]"
)


class ArchiveMissing(Exception):
    """The agent lacks an archive that was left out, and has not begun."""


class _PickledCall:
    """Becomes a ``SentCall`` where it is unpickled."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        space = {"__name__": "fal_core_far_end"}
        names = {
            "source": _source(sent_calls.__file__),
            "space": space,
            "parts": self._parts,
            "defined": sent_calls.DEFINED,
            "where": "<fal_core_far_end>",
        }
        return eval, (_MAKE, names)


def seal(
    call: Call,
    *,
    folder: str | None = None,
    current_folder: bool = False,
    followed: bool = True,
    lean: bool = False,
) -> bytes:
    """
    Return *call* as a pickle of a callable that takes no arguments.

    Arguments:
        folder: The folder of the function's own file under that of the files.

        current_folder: Whether modules of the working directory are importable.

        followed: Whether a launcher follows the run. Output is marked for it then, and
            the outcome sealed; otherwise the agent handles what is printed and raised.

        lean: Leave out archives that the agent is thought to have.
    """
    import cloudpickle

    arguments = call.arguments
    parts = {
        "name": call.name,
        "archives": _source(archives.__file__),
        "controls": _source(controls.__file__),
        "marked_output": _source(marked_output.__file__),
        "agent_sockets": _source(agent_sockets.__file__),
        "worker": _pack_archive(worker_archive(), lean=lean),
        "cloudpickle": cloudpickle.__version__,
        "sources": [_pack_archive(source, lean=lean) for source in call.sources],
        "function": pack_function(call.function),
        "setup": None if call.setup is None else pack_function(call.setup),
        "arguments": (bytes(arguments.data), [bytes(each) for each in arguments.buffers]),
        "serve": call.gateway.serve,
        "followed": followed,
        "folder": folder,
        "current_folder": current_folder,
        "address": "0.0.0.0",
        "takes_socket": SOCKET_MARK if call.takes_socket else "",
    }
    return pickle.dumps(_PickledCall(parts), 4)


def open_outcome(definition: bytes) -> Outcome | None:
    """
    Return the outcome in the result of the agent; None for a call that was interrupted.

    Raises:
        ArchiveMissing: The agent lacks an archive that was left out, and has not begun.

        InternalServerlessRunFailed: The result is no outcome of this version.
    """
    try:
        result = load_plain(definition)
        if result == (sent_calls.LACKS,):
            raise ArchiveMissing
        word, ended, data, buffers = result
        if word != sent_calls.OUTCOME:
            raise ValueError("it is of another version")
        parts = (data, *buffers)
        if not all(isinstance(part, (bytes, bytearray)) for part in parts):
            raise ValueError("it does not consist of bytes")
    except ArchiveMissing:
        raise
    except Exception as error:
        raise InternalServerlessRunFailed(
            f"What the run returned is no outcome: {error}"
        ) from error
    if ended == frames.ENDED_CANCELLED:
        return None
    return Outcome(Sealed(data, buffers), ended == frames.ENDED_RAISED)


def failure_of(value: Any) -> HostError:
    """Return the error of an agent that raised *value* before the worker's code ran."""
    text = value.exception_message or value.stringized_traceback or "no details"
    name = value.exception_type_name or "an exception"
    return InternalServerlessRunFailed(f"The agent could not run the call: {name}: {text}")


@functools.cache
def _source(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=64)
def _compressed(digest: str, data: bytes) -> bytes:
    return zlib.compress(data, 6)


def _pack_archive(source: SourceArchive, *, lean: bool) -> tuple[str, bytes | None]:
    return source.digest, None if lean else _compressed(source.digest, source.data)
