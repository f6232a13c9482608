"""
Exceptions as records, which can be opened in any process.

A record is made of built-in values. It holds the exception itself, sealed, if it can be
sealed. It also holds the names of its class and bases, its message and its attributes: a
stand-in is made of them where the exception itself cannot be opened.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping

from fal_core_worker.opening.seals import PREFIX_SIZE, Sealed, SealingError, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.opening.seals import AnySealed

    Record = dict[str, Any]


#: Modules of the event loop that runs the function's coroutine.
_LOOPS = ("asyncio.runners", "asyncio.base_events")


class RemoteTraceback(Exception):
    """The traceback of an exception, from the process that raised it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def describe(error: BaseException) -> Record:
    """Return the record of *error*, without the exception itself."""
    return {
        "class": _class_tree(type(error)),
        "message": _text(str, error),
        "arguments": tuple(_plain(value) for value in error.args),
        "attributes": {
            name: [_text(str, note) for note in value]
            if name == "__notes__" and type(value) is list
            else _plain(value)
            for name, value in attributes(error).items()
        },
        "traceback": format_traceback(error),
        "suppressed": error.__suppress_context__,
    }


def bare_record(error: BaseException) -> Record:
    """Return a record of *error* that calls none of its methods."""
    name = type(error).__name__
    return {
        "class": ("builtins", "Exception", ()),
        "message": name,
        "arguments": (f"{name}, which cannot be described further",),
        "attributes": {},
        "traceback": f"{name}\n",
        "suppressed": False,
    }


def attributes(error: BaseException) -> dict[str, Any]:
    """Return the attributes of *error* from its dictionary and slots, without ``args``."""
    found = dict(vars(error))
    for kind in type(error).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(error, name):
                found[name] = getattr(error, name)
    return found


def format_traceback(error: BaseException) -> str:
    """Return the traceback of *error* as text, from the user's first frame on."""
    import traceback

    kind, trace = type(error), find_trace(error)
    return "".join(traceback.TracebackException(kind, error, trace).format(chain=False))


def find_trace(error: BaseException) -> types.TracebackType | None:
    """Return the traceback of *error* from the user's first frame on."""
    trace = error.__traceback__
    began = trace is not None and _is_ours(trace.tb_frame)
    while trace is not None and (
        _is_ours(trace.tb_frame) or (began and _module(trace.tb_frame) in _LOOPS)
    ):
        trace = trace.tb_next
    return trace


def _is_ours(frame: types.FrameType) -> bool:
    name = _module(frame)
    # Source in an agent is named fal_core_far_end.
    ours = name.startswith(("fal_core.", "fal_core_", "fal_serve.", "fal_host_", "fal_env_"))
    # Of fal_testing, the functions of laws count as a user's.
    return ours or name.startswith("fal_testing.hosts.")


def _module(frame: types.FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _text(show: Callable[[Any], str], value: Any) -> str:
    try:
        return show(value)
    except Exception as error:
        return f"<{type(value).__name__} whose text raises {type(error).__name__}>"


def _plain(value: Any) -> Any:
    if type(value) in (int, float, str, bytes, bool, type(None)):
        return value
    return _text(repr, value)[:1000]


def _class_tree(cls: type) -> tuple[Any, ...]:
    if cls.__module__ == "builtins":
        return "builtins", cls.__qualname__, ()
    bases = tuple(_class_tree(base) for base in cls.__bases__)
    return cls.__module__, cls.__qualname__, bases


# -- Exceptions whose __init__ is not called again ------------------------------


def reduce_error(error: BaseException) -> Any:
    """
    Reduce *error* so that opening it does not call its ``__init__``.

    Pickle would pass it ``args``, and ``__init__`` may take other arguments.
    """
    kind = type(error)
    written = {
        name
        for name in ("__init__", "__new__", "__reduce__", "__reduce_ex__", "__setstate__")
        if isinstance(getattr(kind, name, None), types.FunctionType)
    }
    if written & {"__reduce__", "__reduce_ex__", "__setstate__"}:
        return NotImplemented
    if not written and not attributes(error).keys() - vars(error).keys():
        return NotImplemented
    return make_error, (kind, error.args), attributes(error), None, None, fill_error


def make_error(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """Make an exception without calling the ``__init__`` written for its class."""
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(kind, *arguments)
    try:
        builtin.__init__(error, *arguments)
    except Exception:
        pass
    error.args = arguments
    return error


def fill_error(error: BaseException, state: dict[str, Any]) -> None:
    """Set the attributes of *error*."""
    for name, value in state.items():
        try:
            object.__setattr__(error, name, value)
        except (AttributeError, TypeError):
            vars(error)[name] = value


# -- Stand-ins ---------------------------------------------------------------------

_stand_ins: dict[tuple[Any, ...], type[BaseException]] = {}


def stand_in(record: Record) -> BaseException:
    """
    Make an exception from *record* that is as close to the original as possible.

    Its class is the original one if it can be imported here, and otherwise a new one of
    the same name and bases.
    """
    tree = record["class"]
    cls = _find_class(tree)
    if cls is None or not issubclass(cls, BaseException):
        cls = _stand_in_class(tree)
    try:
        error = make_error(cls, record["arguments"])
    except Exception:
        cls = _stand_in_class((*tree[:2], (("builtins", "Exception", ()),)))
        error = make_error(cls, record["arguments"])
    fill_error(error, record["attributes"])
    if getattr(cls, "stands_in", False):
        error.__dict__["_message"] = record["message"]
    return error


def _find_class(tree: tuple[Any, ...]) -> type[BaseException] | None:
    module, qualname, _ = tree
    try:
        found: Any = sys.modules.get(module) or __import__(module, fromlist=["_"])
        for part in qualname.split("."):
            found = getattr(found, part)
    except Exception:
        return None
    return found if isinstance(found, type) else None


def _stand_in_class(tree: tuple[Any, ...]) -> type[BaseException]:
    if tree not in _stand_ins:
        module, qualname, bases = tree
        content = {
            "__module__": module,
            "__qualname__": qualname,
            "__doc__": f"Stands in for {module}.{qualname}, which cannot be imported here.",
            "__str__": lambda self: self.__dict__.get("_message", ""),
            "stands_in": True,
        }
        found = tuple(_find_class(base) or _stand_in_class(base) for base in bases)
        name = qualname.rpartition(".")[2]
        try:
            made = types.new_class(name, found, {}, lambda space: space.update(content))
        except TypeError:
            made = type(name, (Exception,), content)
        _stand_ins[tree] = made
    return _stand_ins[tree]


# -- Opening ------------------------------------------------------------------------


def open_error(
    sealed: AnySealed, own: Mapping[str, Callable[[str], BaseException]]
) -> BaseException:
    """
    Return the exception that the other end raised, with its traceback there as cause.

    If the exception itself cannot be opened, it is a stand-in whose class has the same
    name and bases.

    Arguments:
        own: Makes exceptions of classes that only this end has, from their messages.
    """
    return _rebuild(loads(memoryview(sealed[0])[PREFIX_SIZE:]), own)


def _rebuild(
    record: Record, own: Mapping[str, Callable[[str], BaseException]]
) -> BaseException:
    make = own.get(record.get("own") or "")
    if make:
        # The place in our code that raised it is of no use to the user; its cause is.
        error = make(record["message"])
        if "cause" in record:
            error.__cause__ = _rebuild(record["cause"], own)
        return error
    if "members" in record:
        error = _rebuild_group(record, [_rebuild(member, own) for member in record["members"]])
    else:
        error = _open_whole(record) or stand_in(record)
    # The original cause or context stays visible behind our traceback.
    remote = RemoteTraceback(record["traceback"])
    if "cause" in record:
        remote.__cause__ = _rebuild(record["cause"], own)
    elif "context" in record:
        remote.__context__ = _rebuild(record["context"], own)
    # A frozen exception has a ``__setattr__`` that refuses.
    object.__setattr__(error, "__cause__", remote)
    # Libraries that pickle tracebacks, as tblib, would have it tell the same twice.
    return error.with_traceback(None)


def _rebuild_group(record: Record, members: list[BaseException]) -> BaseException:
    # The members are made first, so that each has its own traceback.
    return stand_in({**record, "arguments": (record["arguments"][0], members)})


def _open_whole(record: Record) -> BaseException | None:
    # Few exceptions are opened in a worker, so its start does not pay for this.
    from fal_core_worker.opening.unpickling import open_sealed

    data = record.get("sealed")
    if data is None:
        return None
    try:
        opened = open_sealed(Sealed(data), "the exception", from_caller=False)
    except SealingError:
        return None
    return opened if isinstance(opened, BaseException) else None
