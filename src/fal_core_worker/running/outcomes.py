"""How calls end: what they raise to be ended, and how their outcomes are sent."""

from __future__ import annotations

# ``signal`` is slow to import.
import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import builtins
import os
import sys
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from fal_core_worker.opening import values
from fal_core_worker.sharing import count_apart
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import RAISED, SEALED, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from fal_core_worker.stream.streams import FrameStream

#: The types of what generator functions and coroutine functions return.
LAZY = frozenset((GeneratorType, CoroutineType, AsyncGeneratorType))


#: Builtins that programs wrap on purpose. They are left as they are if they can be called.
_WRAPPED = frozenset(("__import__", "breakpoint", "help", "input", "open", "print"))

_builtins = vars(builtins)
#: Those of Python, and the values of all that was there when it was looked last: a list of
#: them is compared in half the time of a dict.
_genuine = dict(_builtins)
_known = [*_builtins.values()]


def restore_builtins(*, leave: bool = False, callable: Any = callable) -> str:
    """
    Restore the builtins of Python that a function has replaced or removed, and return their
    names: what it has left may break another one, and what runs it here.

    Arguments:
        leave: Only return their names.
    """
    global _known
    try:
        if [*_builtins.values()] == _known:
            return ""
    except Exception:
        # One that is not compared.
        pass
    lost = [
        name
        for name, value in _genuine.items()
        if _builtins.get(name) is not value
        and not (name in _WRAPPED and callable(_builtins.get(name)))
    ]
    if not (lost and leave):
        for name in lost:
            _builtins[name] = _genuine[name]
        _known = [*_builtins.values()]
    return ", ".join(lost)


class CallCancelled(KeyboardInterrupt):
    """Raised in the function when its call is cancelled."""


class Terminated(SystemExit):
    """Raised in the function when somebody else than its host sends the worker a SIGTERM."""

    ends_worker = True


async def contain(coroutine: Any) -> tuple[int, Any]:
    """Await *coroutine*, and return what it returned, or raised if that would end its loop."""
    try:
        return VALUE, await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        return RAISED, error


def release(contained: tuple[int, Any]) -> Any:
    """Return or raise what :func:`contain` has returned."""
    kind, value = contained
    if kind == RAISED:
        raise value
    return value


def end_forked(error: BaseException | None = None) -> NoReturn:
    """
    End this process, which a function has forked and left, as Python ends a program.

    It waits for no threads, and calls nothing that was registered with ``atexit``: that is the
    worker's.

    Arguments:
        error: What the function raised in it. None where it returned.
    """
    code: Any = 0
    try:
        if isinstance(error, SystemExit):
            code = error.code or 0
            if not isinstance(code, int):
                print(code, file=sys.stderr)
                code = 1
        elif error is not None:
            code = 1
            _print_error(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(code & 0xFF)


def _print_error(error: BaseException) -> None:
    import traceback

    from fal_core_worker.opening.exceptions import find_trace

    traceback.print_exception(type(error), error, find_trace(error))


def send_value(
    stream: FrameStream, channel: int, value: Any, function: Any, after: int = 0
) -> None:
    """
    Send the outcome of the call of *channel*: what *function* returned.

    Arguments:
        after: ``frames.REPLACE`` if the worker takes no other call, ``frames.LEFT`` if
            threads of the call go on, 0 otherwise, or the sum.
    """
    try:
        data, buffers = values.seal_value(value, function)
    except Exception as error:
        send_error(stream, channel, error, function, after)
        return
    stream.send(frames.OUTCOME, channel, frames.ENDED_WELL, after, data, buffers)


def send_error(
    stream: FrameStream, channel: int, error: BaseException, function: Any, after: int = 0
) -> None:
    """
    Send the outcome of the call of *channel*: what *function* raised.

    Arguments:
        after: As for :func:`send_value`.
    """
    data, buffers = values.seal_error(error, function)
    stream.send(frames.OUTCOME, channel, frames.ENDED_RAISED, after, data, buffers)


def send_item(stream: FrameStream, channel: int, value: Any, index: int, function: Any) -> None:
    """
    Send one item of a stream.

    Raises:
        SealingError: It cannot be sealed.
    """
    data, buffers = values.seal_value(value, function)
    stream.send(frames.ITEM, channel, index, 1, data, buffers)


def send_items(
    stream: FrameStream,
    channel: int,
    outcomes: list[tuple[int, Any]],
    first: int,
    function: Any,
) -> None:
    """Send outcomes of a batch. The first of them has the index *first*."""
    if not outcomes:
        return
    try:
        if count_apart(outcomes) < len(outcomes):
            raise ValueError("The other end may change one of them.")
        sealed = values.seal_value(outcomes, function, apart=True)
        if sealed.contains_code:
            raise ValueError("The other end may have to refuse one of them.")
    except Exception:
        sealed = values.seal_value([_apart(pair, function) for pair in outcomes], None)
    stream.send(frames.ITEM, channel, first, len(outcomes), sealed.data, sealed.buffers)


def _apart(outcome: tuple[int, Any], function: Any) -> tuple[int, Any]:
    """Seal the value of one outcome."""
    kind, value = outcome
    if kind != VALUE:
        return outcome
    try:
        sealed = values.seal_value(value, function)
    except Exception as error:
        return RAISED, values.seal_error(error, function).data
    return SEALED, (sealed.data, [bytes(buffer) for buffer in sealed.buffers])
