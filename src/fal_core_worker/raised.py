"""
Raised exceptions as records: what can be told of them wherever they are opened.

A record is made of built-in values, so it opens everywhere. It holds the
exception itself, sealed, where it can be sealed; and the names of its class and
bases, its message and its attributes, of which a stand-in is made elsewhere.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]


#: Run the coroutine that the worker gives them.
_LOOPS = ("asyncio.runners", "asyncio.base_events")


class SealingError(Exception):
    """
    Something cannot be sealed or opened.

    It is ``FalSerializationError`` to whoever called the function.
    """


class MissingModule(SealingError):
    """
    Something needs a module that is not there.

    It is ``FalMissingDependencyError`` to whoever called the function.
    """


class RemoteTraceback(Exception):
    """
    The traceback of an exception, from the process that raised it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def describe(error: BaseException) -> Record:
    """
    Return the record of *error* alone, without what is sealed.
    """
    return {
        "class": _class_tree(type(error)),
        "message": _text(str, error),
        "arguments": tuple(_plain(value) for value in error.args),
        "attributes": {name: _plain(value) for name, value in attributes(error).items()},
        "traceback": format_traceback(error),
        "suppressed": error.__suppress_context__,
    }


def bare_record(error: BaseException) -> Record:
    """
    Return a record of *error* that asks nothing of the error itself.
    """
    name = type(error).__name__
    return {
        "class": ("builtins", "Exception", ()),
        "message": name,
        "arguments": (f"{name}, of which nothing more can be told",),
        "attributes": {},
        "traceback": f"{name}\n",
        "suppressed": False,
    }


def attributes(error: BaseException) -> dict[str, Any]:
    """
    Return what *error* holds beside its arguments, in its dictionary and slots.
    """
    found = dict(vars(error))
    for kind in type(error).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(error, name):
                found[name] = getattr(error, name)
    return found


def format_traceback(error: BaseException) -> str:
    """
    Return the traceback of *error* as text, from the user's first frame on.
    """
    import traceback

    trace = error.__traceback__
    began = trace is not None and _is_ours(trace.tb_frame)
    while trace is not None and (
        _is_ours(trace.tb_frame) or (began and _module(trace.tb_frame) in _LOOPS)
    ):
        trace = trace.tb_next
    lines = traceback.TracebackException(type(error), error, trace).format(chain=False)
    return "".join(lines)


def _is_ours(frame: types.FrameType) -> bool:
    name = _module(frame)
    # What arrives at an agent as source is named like the worker, as fal_core_arrival.
    ours = name.startswith(("fal_core.", "fal_core_", "fal_serve."))
    # The functions of the laws are a user's as far as the worker is concerned.
    return ours and not name.startswith("fal_core.testing.laws.")


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
    Reduce *error* so that opening it does not run its ``__init__``.

    ``__init__`` may take other arguments than ``args``, which pickle would pass.
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
    """
    Make an exception as it was, without the ``__init__`` that was written for it.
    """
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(kind, *arguments)
    try:
        builtin.__init__(error, *arguments)
    except Exception:
        pass
    error.args = arguments
    return error


def fill_error(error: BaseException, state: dict[str, Any]) -> None:
    """
    Give *error* its attributes back.
    """
    for name, value in state.items():
        try:
            object.__setattr__(error, name, value)
        except (AttributeError, TypeError):
            vars(error)[name] = value


# -- Stand-ins ---------------------------------------------------------------------

_stand_ins: dict[tuple[Any, ...], type[BaseException]] = {}


def stand_in(record: Record) -> BaseException:
    """
    Make of a record what is nearest to the exception that it tells of.

    Its class is the one of that name where there is one here, and otherwise one
    of the same name and bases.
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
