"""Sealed objects are opened, even if another Python minor sealed them."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from fal_core_worker.opening.models import explain_models, forget_models, rebuild_models
from fal_core_worker.opening.seals import (
    PREFIX_SIZE,
    PYTHON,
    MissingModule,
    Sealed,
    SealingError,
    Unpickler,
    loads,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.opening.seals import AnySealed

#: Held while code is opened, so that no thread sees a half-made class.
OPENING = threading.RLock()

_collected: list[CollectedClasses] = []


class CollectedClasses(set[type]):
    """The classes that arrive by value inside this context, which holds :data:`OPENING`."""

    def __enter__(self) -> CollectedClasses:
        OPENING.acquire()
        _collected.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _collected.pop()
        OPENING.release()


def collect_class(cls: type) -> None:
    """Add *cls*, which has arrived by value, to the classes that are being collected."""
    for classes in _collected:
        classes.add(cls)


class ForeignUnpickler(Unpickler):
    """Finds classes that the standard library has moved between Python minors."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ModuleNotFoundError, AttributeError):
            # Such as ``pathlib._local.PosixPath``, which others have in ``pathlib``.
            parent, _, private = module.rpartition(".")
            if not parent or not private.startswith("_"):
                raise
            return super().find_class(parent, name)


class _Pieces(io.RawIOBase):
    """Reads pieces of a pickle one after the other. Each is copied to where it is needed."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._left: deque[Any] = deque(memoryview(piece) for piece in pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._left:
            return 0
        piece = self._left.popleft()
        count = min(len(piece), len(target))
        target[:count] = piece[:count]
        if count < len(piece):
            self._left.appendleft(piece[count:])
        return count


#: What to do if the worker lacks a module.
REQUIRE = "Add what provides it to requirements."


def open_sealed(
    pair: AnySealed, what: str, remedy: str = REQUIRE, *, from_caller: bool = True
) -> Any:
    """
    Open a sealed object.

    Arguments:
        pair: Its data and its buffers.

        what: What the object is, for the error message.

        remedy: What to do if a module is missing, as a sentence.

        from_caller: Whether the caller of the function has sealed it, not the worker.

    Raises:
        SealingError: It cannot be opened here.
    """
    sealed = Sealed(*pair)
    if sealed.data[2:4] == PYTHON:
        if not sealed.contains_code:
            return _load(sealed, what, remedy, Unpickler)
        with OPENING:
            forget_models()
            try:
                return _load(sealed, what, remedy, Unpickler, then=rebuild_models)
            except MissingModule:
                raise
            except SealingError as error:
                why = explain_models(from_caller=from_caller)
                raise SealingError(f"{error}{why}") from error.__cause__
    if sealed.contains_code:
        raise SealingError(refuse(sealed, what))
    with OPENING:
        return _load(sealed, what, remedy, ForeignUnpickler)


def refuse(sealed: Sealed, what: str) -> str:
    """Return the error message for *sealed*, which holds code of another Python."""
    sender, here = version_text(sealed.python), version_text(sys.version_info[:2])
    return (
        f"Python {here} cannot open {what}: it holds code of Python {sender}. Send plain "
        "values, or let the function and its caller run one Python: leave python_version "
        "out, or start the caller with the Python that it names."
    )


def version_text(version: tuple[int, ...]) -> str:
    """Return a version as text, such as ``3.11``."""
    return f"{version[0]}.{version[1]}"


def _writable(buffer: Any) -> Any:
    """
    Return *buffer*, or a copy of one that is read-only, so that arrays made of it are not.

    The pickle says which values were read-only where they were sealed.
    """
    return bytearray(buffer) if memoryview(buffer).readonly else buffer


def _load(
    sealed: Sealed,
    what: str,
    remedy: str,
    unpickler: type[Unpickler],
    then: Callable[[], None] | None = None,
) -> Any:
    try:
        value = _unpickle(sealed, unpickler)
        if then is not None:
            then()
        return value
    except ModuleNotFoundError as error:
        raise MissingModule(
            f"Python cannot open {what}: module {error.name!r} is not found in "
            f"{sys.prefix!r}. {remedy}"
        ) from error
    except Exception as error:
        raise SealingError(explain_failure(sealed, what, error)) from error


def explain_failure(sealed: Sealed, what: str, error: Exception) -> str:
    """Return why *sealed* cannot be opened. The sender's Python is named if it is another."""
    sender, here = version_text(sealed.python), version_text(sys.version_info[:2])
    sealed_by = "" if sender == here else f", sealed by Python {sender}"
    return f"Python {here} cannot open {what}{sealed_by}: {type(error).__name__}: {error}"


def _unpickle(sealed: Sealed, unpickler: type[Unpickler]) -> Any:
    data: Any = sealed.data
    data = data[PREFIX_SIZE:] if len(data) < 4096 else memoryview(data)[PREFIX_SIZE:]
    buffers: Iterator[Any] = iter(sealed.buffers)
    if sealed.is_divided:
        pieces = [next(buffers) if piece is None else piece for piece in loads(data)]
        file = io.BufferedReader(_Pieces(pieces))
        return unpickler(file, buffers=map(_writable, buffers)).load()
    buffers = map(_writable, buffers)
    if unpickler is Unpickler:
        return loads(data, buffers=buffers)
    return unpickler(io.BytesIO(data), buffers=buffers).load()
