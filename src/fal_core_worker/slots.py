"""
The functions that a worker has open, and how their ends are told.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from fal_core_worker import frames, opening
from fal_core_worker.seals import Sealed

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


class Functions:
    """
    The functions of one worker, by the slot that the other end gave them.
    """

    def __init__(self) -> None:
        self._sent: dict[int, tuple[Any, ...]] = {}
        self._open: dict[int, Callable[..., Any]] = {}
        self._raw: dict[int, Any] = {}
        self._setups: dict[str, tuple[Any]] = {}

    def put(self, slot: int, payload: bytes) -> None:
        """
        Remember the function that a FUNCTION frame carries, in place of another.
        """
        self._sent[slot] = marshal.loads(payload)
        self._open.pop(slot, None)
        self._raw.pop(slot, None)

    def raw(self, slot: int) -> Any:
        """
        Return the function itself, which values are sealed and opened for.
        """
        return self._raw.get(slot)

    def get(self, slot: int) -> Callable[..., Any]:
        """
        Return the function, opened, with the result of its setup bound to it.
        """
        function = self._open.get(slot)
        if function is None:
            function = self._open[slot] = self._prepare(slot)
        return function

    def _prepare(self, slot: int) -> Callable[..., Any]:
        digest, native, portable, refusal, setup = self._sent[slot]
        function = opening.open_function(
            None if native is None else Sealed(native),
            None if portable is None else Sealed(portable),
            refusal,
        )
        self._raw[slot] = function
        if not setup:
            return function
        setup_digest = setup[0]
        if setup_digest not in self._setups:
            start = opening.open_function(
                None if setup[1] is None else Sealed(setup[1]),
                None if setup[2] is None else Sealed(setup[2]),
                setup[3],
            )
            self._setups[setup_digest] = (start(),)
        (value,) = self._setups[setup_digest]
        return _Prepared(function, value)


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


def add_source(payload: bytes) -> None:
    """
    Unpack a source archive beside its digest and put it on ``sys.path``.
    """
    import io
    import tempfile
    import zipfile

    digest, archive = payload[:64].decode().strip(), payload[64:]
    root = os.environ.get("FAL_CORE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "fal-core"
    )
    parent = os.path.join(root, "sources")
    path = os.path.join(parent, digest)
    if not os.path.isdir(path):
        try:
            os.makedirs(parent, mode=0o700, exist_ok=True)
            new = tempfile.mkdtemp(dir=parent)
        except OSError:
            parent = tempfile.gettempdir()
            new = path = tempfile.mkdtemp(prefix="fal-core-")
        zipfile.ZipFile(io.BytesIO(archive)).extractall(new)
        if new != path:
            try:
                os.rename(new, path)
            except OSError:
                path = path if os.path.isdir(path) else new
    if path not in sys.path:
        sys.path.append(path)


class Ending:
    """
    Sends the items and the outcome of one call.
    """

    __slots__ = ("channel", "function", "stream")

    def __init__(self, stream: frames.Stream, channel: int, function: Any) -> None:
        self.stream = stream
        self.channel = channel
        self.function = function

    def value(self, value: Any) -> None:
        """
        End the call with *value*.
        """
        try:
            data, buffers = opening.seal_value(value, self.function)
        except Exception as error:
            self.error(error)
            return
        self.stream.send(
            frames.OUTCOME, self.channel, frames.ENDED_WELL, data=data, buffers=buffers
        )

    def error(self, error: BaseException) -> None:
        """
        End the call with *error*.
        """
        data, buffers = opening.seal_error(error, self.function)
        self.stream.send(
            frames.OUTCOME, self.channel, frames.ENDED_RAISED, data=data, buffers=buffers
        )

    def cancelled(self) -> None:
        """
        End the call as cancelled.
        """
        self.stream.send(frames.OUTCOME, self.channel, frames.ENDED_CANCELLED)

    def item(self, value: Any, index: int) -> None:
        """
        Send one value of a stream.

        Raises:
            Exception: The value cannot be sealed.
        """
        data, buffers = opening.seal_value(value, self.function)
        self.stream.send(frames.ITEM, self.channel, index, 1, data=data, buffers=buffers)

    def items(self, outcomes: list[tuple[int, Any]], first: int) -> None:
        """
        Send outcomes of a batch, of which the first is number *first*.
        """
        if not outcomes:
            return
        try:
            sealed = opening.seal_value(outcomes, self.function)
            if sealed.contains_code:
                raise ValueError("one of them may have to be refused alone")
        except Exception:
            sealed = opening.seal_value([self._apart(pair) for pair in outcomes], None)
        self.stream.send(
            frames.ITEM,
            self.channel,
            first,
            len(outcomes),
            data=sealed.data,
            buffers=sealed.buffers,
        )

    def _apart(self, outcome: tuple[int, Any]) -> tuple[int, Any]:
        kind, value = outcome
        if kind != VALUE:
            return outcome
        try:
            sealed = opening.seal_value(value, self.function)
        except Exception as error:
            return RAISED, opening.seal_error(error, self.function).data
        return SEALED, (sealed.data, [bytes(buffer) for buffer in sealed.buffers])
