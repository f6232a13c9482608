"""The arguments of calls are opened, and their results and exceptions sealed."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from fal_core_worker.opening.exceptions import bare_record, describe
from fal_core_worker.opening.seals import (
    PLAIN_PREFIX,
    PREFIX_SIZE,
    MissingModule,
    Sealed,
    SealingError,
    dumps,
    loads,
    seal_plain,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.opening.exceptions import Record
    from fal_core_worker.opening.seals import AnySealed

_LONGEST_CHAIN = 50

# The classes that arrived with each function. Its caller has them, so that results refer
# to them by their identity.
_known: dict[int, tuple[Any, frozenset[type]]] = {}


def remember_classes(function: Callable[..., Any], classes: frozenset[type]) -> None:
    """Note the *classes* that arrived with *function*, for as long as it is held."""
    key = id(function)
    try:
        held: Any = weakref.ref(function, lambda _: _known.pop(key, None))
    except TypeError:
        held = function
    if classes:
        _known[key] = held, classes


def open_arguments(sealed: AnySealed, function: Callable[..., Any] | None) -> Any:
    """
    Open the arguments of one call, or the list of arguments of a batch.

    Raises:
        SealingError: They cannot be opened.
    """
    data, buffers = sealed
    if data[:PREFIX_SIZE] == PLAIN_PREFIX and len(data) < 4096 and not buffers:
        try:
            return loads(data[PREFIX_SIZE:])
        except Exception:
            pass  # It fails again below, with an error that says what to do.
    # Plain arguments are opened without it.
    from fal_core_worker.opening.unpickling import open_sealed

    return open_sealed(sealed, f"an argument of {_name(function)}")


def seal_value(
    value: Any, function: Callable[..., Any] | None, *, apart: bool = False
) -> Sealed:
    """
    Seal what *function* returned or yielded.

    Arguments:
        apart: Whether it holds what different calls returned.

    Raises:
        SealingError: It cannot be pickled.
        SharedObject: What different calls returned has an object in common.
    """
    plain = seal_plain(value)
    if plain is not None:
        return Sealed(*plain)
    # It imports cloudpickle, which plain values do not need.
    from fal_core_worker.opening.pickling import seal

    what, remedy = f"the result of {_name(function)}", "Return what it can be made of again."
    return seal(value, what, remedy, known=_classes(function), apart=apart)


def seal_error(error: BaseException, function: Callable[..., Any] | None) -> Sealed:
    """Seal what *function* raised. This never fails."""
    try:
        record = _record(error, _classes(function), set())
    except Exception:
        record = bare_record(error)
    return Sealed(PLAIN_PREFIX + dumps(record, 5))


def _explain(error: BaseException) -> None:
    """Say what to do where the function has asked somebody who is not there."""
    if type(error) is EOFError and error.args == ("EOF when reading a line",):
        error.args = ("A worker has no terminal; pass the answer as an argument.",)
    elif type(error).__name__ == "BdbQuit" and not error.args:
        error.args = ("A worker has no terminal for a debugger; use run_local() to debug.",)


def _record(error: BaseException, known: frozenset[type], seen: set[int]) -> Record:
    seen.add(id(error))
    _explain(error)
    record = describe(error)
    if isinstance(error, MissingModule):
        record["own"] = "FalMissingDependencyError"
    elif isinstance(error, SealingError):
        record["own"] = "FalSerializationError"
    elif hasattr(error, "exceptions") and isinstance(error.exceptions, tuple):
        record["members"] = [_record(member, known, seen) for member in error.exceptions]
    else:
        record["sealed"] = _seal_whole(error, known)
    for name in ("cause", "context"):
        other = getattr(error, f"__{name}__")
        hidden = name == "context" and (error.__suppress_context__ or error.__cause__)
        told = id(other) in seen or len(seen) >= _LONGEST_CHAIN
        if other is not None and not hidden and not told:
            record[name] = _record(other, known, seen)
    return record


def _seal_whole(error: BaseException, known: frozenset[type]) -> bytes | None:
    from fal_core_worker.opening.exceptions import attributes, fill_error, make_error
    from fal_core_worker.opening.pickling import seal

    def can_travel(value: Any) -> bool:
        try:
            seal(value, "", "", known=known, beside=False)
        except SealingError:
            return False
        return True

    try:
        return seal(error, "", "", known=known, beside=False).data
    except SealingError:
        pass
    try:
        # What cannot be sealed becomes text, so that a message made of it still works.
        arguments = tuple(value if can_travel(value) else repr(value) for value in error.args)
        copy = make_error(type(error), arguments)
        for name, value in attributes(error).items():
            fill_error(copy, {name: value if can_travel(value) else repr(value)})
        return seal(copy, "", "", known=known, beside=False).data
    except Exception:
        return None


def _name(function: Callable[..., Any] | None) -> str:
    return repr(getattr(function, "__qualname__", None) or type(function).__name__)


def _classes(function: Callable[..., Any] | None) -> frozenset[type]:
    held, classes = _known.get(id(function), (None, frozenset()))
    held = held() if isinstance(held, weakref.ref) else held
    return classes if held is function else frozenset()
