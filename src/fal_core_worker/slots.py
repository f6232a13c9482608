"""
The functions that a worker has open, and how their ends are told.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from fal_core_worker import frames, opening
from fal_core_worker.seals import Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What a function returns whose result is still to come.
LAZY = frozenset((GeneratorType, CoroutineType, AsyncGeneratorType))

#: How an item of a batch ended.
VALUE, RAISED, SEALED = 0, 1, 2

#: How many items of a stream may be under way.
WINDOW = 16


class CallCancelled(KeyboardInterrupt):
    """
    Raised in the function when its call is cancelled.
    """


class Terminated(SystemExit):
    """
    Raised in the function when its worker is told to end, and nobody of ours has asked.
    """


class Functions:
    """
    The functions of one worker, by the slot that the other end gave them.
    """

    def __init__(self) -> None:
        self._sent: dict[int, tuple[Any, ...]] = {}
        self._open: dict[int, tuple[Callable[..., Any], Any]] = {}
        self._setups: dict[str, tuple[Any]] = {}

    def put(self, slot: int, payload: bytes) -> None:
        """
        Remember the function that a FUNCTION frame carries, in place of another.
        """
        self._sent[slot] = marshal.loads(payload)
        self._open.pop(slot, None)

    def raw(self, slot: int) -> Any:
        """
        Return the function itself, which values are sealed and opened for.
        """
        opened = self._open.get(slot)
        return opened and opened[1]

    def get(self, slot: int) -> tuple[Callable[..., Any], Any]:
        """
        Return what to call, the result of the setup bound to it, and the function.
        """
        opened = self._open.get(slot)
        if opened is None:
            opened = self._open[slot] = self._prepare(slot)
        return opened

    def awaits_setup(self, slot: int) -> bool:
        """
        Tell whether :meth:`get` has yet to run a setup.
        """
        setup = self._sent[slot][4]
        return bool(setup) and setup[0] not in self._setups

    def _prepare(self, slot: int) -> tuple[Callable[..., Any], Any]:
        _, native, portable, refusal, setup = self._sent[slot]
        function = _open(native, portable, refusal)
        if not setup:
            return function, function
        digest, *forms = setup
        if digest not in self._setups:
            self._setups[digest] = (_open(*forms)(),)
        (value,) = self._setups[digest]
        return _Prepared(function, value), function


def _open(native: bytes | None, portable: bytes | None, refusal: str) -> Callable[..., Any]:
    return opening.open_function(
        None if native is None else Sealed(native),
        None if portable is None else Sealed(portable),
        refusal,
    )


class _Prepared:
    """
    A function and the result of its setup, its first argument.
    """

    __slots__ = ("_function", "_value")

    def __init__(self, function: Callable[..., Any], value: Any) -> None:
        self._function = function
        self._value = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(self._value, *args, **kwargs)


def send_value(
    stream: frames.Stream, channel: int, value: Any, function: Any, after: int = 0
) -> None:
    """
    End the call of *channel* with what *function* returned.

    Arguments:
        after: 0, or ``frames.REPLACE`` for a worker that takes no other call.
    """
    try:
        data, buffers = opening.seal_value(value, function)
    except Exception as error:
        send_error(stream, channel, error, function, after)
        return
    stream.send(frames.OUTCOME, channel, frames.ENDED_WELL, after, data, buffers)


def send_error(
    stream: frames.Stream, channel: int, error: BaseException, function: Any, after: int = 0
) -> None:
    """
    End the call of *channel* with what *function* raised; *after* as for a value.
    """
    data, buffers = opening.seal_error(error, function)
    stream.send(frames.OUTCOME, channel, frames.ENDED_RAISED, after, data, buffers)


def send_item(
    stream: frames.Stream, channel: int, value: Any, index: int, function: Any
) -> None:
    """
    Send one value of a stream.

    Raises:
        SealingError: It cannot be sealed.
    """
    data, buffers = opening.seal_value(value, function)
    stream.send(frames.ITEM, channel, index, 1, data, buffers)


def send_items(
    stream: frames.Stream,
    channel: int,
    outcomes: list[tuple[int, Any]],
    first: int,
    function: Any,
) -> None:
    """
    Send outcomes of a batch, of which the first is number *first*.
    """
    if not outcomes:
        return
    try:
        sealed = opening.seal_value(outcomes, function)
        if sealed.contains_code:
            raise ValueError("One of them may have to be refused alone.")
    except Exception:
        sealed = opening.seal_value([_apart(pair, function) for pair in outcomes], None)
    stream.send(frames.ITEM, channel, first, len(outcomes), sealed.data, sealed.buffers)


def _apart(outcome: tuple[int, Any], function: Any) -> tuple[int, Any]:
    """
    Seal the value of an outcome alone.
    """
    kind, value = outcome
    if kind != VALUE:
        return outcome
    try:
        sealed = opening.seal_value(value, function)
    except Exception as error:
        return RAISED, opening.seal_error(error, function).data
    return SEALED, (sealed.data, [bytes(buffer) for buffer in sealed.buffers])
