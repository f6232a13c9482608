"""
The worker's side of sealing: opens functions and arguments, seals what they give.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

from fal_core_worker import pickles
from fal_core_worker.raised import MissingModule, SealingError, bare_record, describe
from fal_core_worker.seals import PLAIN_PREFIX, PREFIX_SIZE, Sealed, dump_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.raised import Record

_LONGEST_CHAIN = 50

# The classes that came with a function: its caller has them.
_known: dict[int, tuple[Any, frozenset[type]]] = {}


def open_function(
    native: Sealed | None, portable: Sealed | None, refusal: str = ""
) -> Callable[..., Any]:
    """
    Open the form of a function that is for this Python.

    Arguments:
        native: For the Python minor that sealed it.

        portable: For any other, the function as source.

        refusal: Why there is no portable form, as a sentence.

    Raises:
        MissingModule: The function needs a module that is not there.

        SealingError: There is no form for this Python, or it does not open.
    """
    from fal_core_worker.functions import open_native, open_portable
    from fal_core_worker.handovers import keep
    from fal_core_worker.loading import collected_classes
    from fal_core_worker.origins import collected_names

    with collected_classes() as classes, collected_names() as names:
        if native is not None and native.python == sys.version_info[:2]:
            function = open_native(native)
        else:
            function = open_portable(native, portable, refusal)
    _remember(function, frozenset(classes))
    keep(function, native, portable, refusal, names)
    return function


def open_arguments(sealed: Sealed, function: Callable[..., Any] | None) -> Any:
    """
    Open the arguments of one call, or a list of those of many.

    Raises:
        SealingError: They cannot be opened.
    """
    data = sealed.data
    if data[:PREFIX_SIZE] == PLAIN_PREFIX and len(data) < 4096 and not sealed.buffers:
        try:
            return pickles.loads(data[PREFIX_SIZE:])
        except Exception:
            pass  # It fails again below, where the error is made.
    from fal_core_worker.loading import open_sealed

    return open_sealed(sealed, f"an argument of {_name(function)}")


def seal_value(value: Any, function: Callable[..., Any] | None) -> Sealed:
    """
    Seal what *function* returned or yielded.

    Raises:
        SealingError: It cannot be pickled.
    """
    data = dump_plain(value)
    if data is not None:
        return Sealed(data)
    from fal_core_worker.pickling import seal

    what, remedy = f"the result of {_name(function)}", "Return what it can be made of again."
    return seal(value, what, remedy, known=_classes(function))


def seal_error(error: BaseException, function: Callable[..., Any] | None) -> Sealed:
    """
    Seal what *function* raised. It never fails.
    """
    try:
        record = _record(error, _classes(function), set())
    except Exception:
        record = bare_record(error)
    return Sealed(PLAIN_PREFIX + pickles.dumps(record, 5))


def _record(error: BaseException, known: frozenset[type], seen: set[int]) -> Record:
    seen.add(id(error))
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
    from fal_core_worker.pickling import seal
    from fal_core_worker.raised import attributes, fill_error, make_error

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
        # What cannot travel is told as text, so that messages made of it still work.
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


def _remember(function: Callable[..., Any], classes: frozenset[type]) -> None:
    key = id(function)
    try:
        held: Any = weakref.ref(function, lambda _: _known.pop(key, None))
    except TypeError:
        held = function
    if classes:
        _known[key] = held, classes
