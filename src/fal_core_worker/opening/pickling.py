"""The pickler of both ends, which decides what travels by value and what by reference."""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import sys
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from cloudpickle import cloudpickle

from fal_core_worker.annotations import readable
from fal_core_worker.buffers.libraries import (
    BUFFER_SIZE,
    LateBytes,
    find_reducer,
    memory_classes,
)
from fal_core_worker.opening.function_parts import (
    fill_function,
    find_builtin_type,
    import_module,
    make_cell,
    make_forward_reference,
    make_function,
    make_union,
)
from fal_core_worker.opening.origins import is_origin
from fal_core_worker.opening.seals import (
    CONTAINS_CODE,
    MOST_BUFFERS,
    Output,
    Sealed,
    SealingError,
    assemble,
    seal_plain,
)
from fal_core_worker.sharing import FIXED, SharedObject, Watch

# Imports inside functions: a first call waits, and needs none of them.

Reduced = tuple[Any, ...]

#: Reduce objects of a type. The sealing end adds to it.
reducers: dict[type, Callable[[Any], Reduced]] = {}

_MAIN = ("__main__", "__mp_main__")
_BUILTIN_TYPES = {type(None), type(Ellipsis), type(NotImplemented)}
_FILES = (
    *(io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom),
    *(io.BufferedRWPair, io.FileIO),
)
_BUILTIN_TYPES.update(kind for kind in vars(types).values() if type(kind) is type)


#: Objects that would arrive without what they stand for, by the names of their classes.
_BOUND = {
    ("_thread", "lock"): "a lock",
    ("_thread", "RLock"): "a lock",
    ("threading", "Condition"): "a condition",
    ("threading", "Semaphore"): "a semaphore",
    ("threading", "Event"): "an event",
    ("threading", "Barrier"): "a barrier",
    ("threading", "Thread"): "a thread",
    ("_thread", "_local"): "a thread-local object",
    ("queue", "Queue"): "a queue",
    ("_queue", "SimpleQueue"): "a queue",
    ("subprocess", "Popen"): "a child process",
    ("concurrent.futures._base", "Future"): "a future",
    ("concurrent.futures.thread", "ThreadPoolExecutor"): "an executor",
    # Some have no descriptor, and refer to themselves.
    ("selectors", "BaseSelector"): "a selector",
    ("ctypes", "CDLL"): "a loaded C library",
}


def only_main(module: str) -> bool:
    """Tell whether objects of *module* travel by value: those of ``__main__`` and stand-ins."""
    return module in _MAIN or is_origin(module)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """
    Pickles one object, and notes what it consists of.

    Arguments:
        by_value: Whether the objects of a module travel by value, given its name.

        known: The classes that the other end has already.

        beside: Whether large buffers, and large pieces of it, may travel beside the pickle.

        apart: Whether tensors do not share their memory where they arrive, as they may
            belong to different calls.

    Attributes:
        contains_code: Whether the pickle contains code.

        pieces: What has been written.

        classes: The classes in it that travel by value.

        functions: The functions in it that travel by value.

        buffers: The buffers that travel beside it.

        storages: The storages of its tensors, by address: in one mapping those that tensors
            have in common.
    """

    contains_code = False

    def __init__(
        self,
        *,
        by_value: Callable[[str], bool] = only_main,
        known: Collection[type] = (),
        beside: bool = True,
        apart: bool = False,
    ) -> None:
        output = Output()
        super().__init__(
            output, protocol=5, buffer_callback=self._keep_in_band if beside else None
        )
        self.pieces = output.pieces
        self.beside = beside
        self.apart = apart
        self.by_value = by_value
        self.known = known
        self.classes: list[type] = []
        self.functions: list[types.FunctionType] = []
        self.buffers: list[memoryview] = []
        self.storages: list[dict[int, Any]] = [{}]
        self._ordinary: set[type] = set()

    def _keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:
            return True
        small = view.nbytes < BUFFER_SIZE and type(view.obj) is not LateBytes
        if small or len(self.buffers) == MOST_BUFFERS:
            return True
        if type(view.obj) is memoryview and view.obj.c_contiguous:
            # Before 3.13, collecting a view of a view as garbage can crash Python.
            view = view.obj.cast("B")
        self.buffers.append(view)
        return False

    def travels_by_value(self, value: Any, name: str | None = None) -> bool:
        """Tell whether *value*, a function or class, travels by value."""
        found = cloudpickle._lookup_module_and_qualname(value, name=name)
        return found is None or found[0].__name__ in _MAIN or self.by_value(found[0].__name__)

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind in self._ordinary:
            return NotImplemented
        reduce = reducers.get(kind)
        if reduce is not None:
            return reduce(value)
        if issubclass(kind, type):
            return self.reduce_class(value)
        if kind is types.FunctionType:
            if not self.travels_by_value(value):
                return NotImplemented
            self.functions.append(value)
            made = hasattr(value, "__wrapped__") and self._reduce_decorated(value)
            return made or self.reduce_function(value)
        if issubclass(kind, BaseException):
            from fal_core_worker.opening import exceptions

            return exceptions.reduce_error(value)
        special = self.special.get(kind)
        if special is not None:
            return special(self, value)
        what = find_bound(value)
        if what is not None:
            raise TypeError(f"{what} belongs to its process")
        if not issubclass(kind, memory_classes()):
            if not hasattr(kind, "fileno"):
                self._ordinary.add(kind)
            return NotImplemented
        if self.apart:
            self.storages.append({})
        return find_reducer(kind)(value, self.storages[-1])

    def reduce_class(self, cls: type) -> Any:
        """Reduce a class to a reference, to its identity or to its value."""
        if cls in _BUILTIN_TYPES or not self.travels_by_value(cls):
            return _reduce_builtin(cls) if cls in _BUILTIN_TYPES else NotImplemented
        from fal_core_worker.opening import classes

        if cls in self.known:
            return classes.reduce_to_identity(cls)
        # A class is made for one Python minor, even if it has no methods.
        self.contains_code = True
        self.classes.append(cls)
        return classes.reduce_to_value(cls)

    def _reduce_decorated(self, value: Any) -> Any:
        from fal_core_worker.opening import decorated

        return decorated.reduce_decorated(value)

    def reduce_function(self, function: types.FunctionType) -> Any:
        """Reduce a function that travels by value."""
        _, arguments, state, *_ = self._dynamic_function_reduce(readable(function))
        return make_function, arguments, state, None, None, fill_function

    def reduce_code(self, code: types.CodeType) -> Any:
        """Reduce code with its file name, so that tracebacks can show source lines."""
        self.contains_code = True
        make, arguments = cloudpickle._code_reduce(code)
        position = arguments.index("<dynamic-code>")
        return make, (*arguments[:position], code.co_filename, *arguments[position + 1 :])

    def _reduce_cell(self, cell: types.CellType) -> Any:
        try:
            return make_cell, (cell.cell_contents,)
        except ValueError:
            return make_cell, ()

    def _reduce_module(self, module: types.ModuleType) -> Any:
        make, *rest = cloudpickle._module_reduce(module)
        return (import_module if make is cloudpickle.subimport else make, *rest)

    def _reduce_type_variable(self, variable: Any) -> Any:
        if not self.travels_by_value(variable, name=variable.__name__):
            return NotImplemented
        if isinstance(variable, typing.TypeVar):
            return cloudpickle._make_typevar, cloudpickle._decompose_typevar(variable)
        return type(variable), (variable.__name__,)

    def _reduce_new_type(self, new_type: Any) -> Any:
        if not self.travels_by_value(new_type):
            return NotImplemented
        return typing.NewType, (new_type.__name__, new_type.__supertype__)

    def _reduce_forward(self, value: Any) -> Any:
        # It may hold its compiled code, which is for one Python minor.
        return make_forward_reference, (value.__forward_arg__, value.__forward_is_argument__)

    def _reduce_union(self, union: Any) -> Any:
        if sys.version_info >= (3, 14):
            # One class has all unions, and its name is that of another one before.
            return make_union, union.__args__
        return NotImplemented

    def _reduce_cached(self, cached: Any) -> Any:
        by_value = self.travels_by_value(cached)
        return self._reduce_decorated(cached) if by_value else NotImplemented

    def _reduce_file(self, file: Any) -> Any:
        # cloudpickle would send the contents of a text file instead.
        if file is sys.stdout or file is sys.stderr:
            return NotImplemented
        name = getattr(file, "name", "")
        raise TypeError(f"an open file, {name!r}, belongs to its process; its path can travel")

    special: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        types.CodeType: reduce_code,
        types.CellType: _reduce_cell,
        types.ModuleType: _reduce_module,
        typing.TypeVar: _reduce_type_variable,
        typing.ParamSpec: _reduce_type_variable,
        typing.ForwardRef: _reduce_forward,
        typing.NewType: _reduce_new_type,
        types.UnionType: _reduce_union,
        **dict.fromkeys(_FILES, _reduce_file),
        type(functools.lru_cache(len)): _reduce_cached,
        functools.cached_property: _reduce_decorated,
    }


class ApartPickler(Pickler):
    """
    Pickles a list of calls, or of outcomes, that have no object in common.

    Raises:
        SharedObject: They have one.
    """

    def __init__(self, items: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        self._look_at = Watch(items).look_at

    def persistent_id(self, value: Any) -> None:
        """Look at *value*, which is pickled next."""
        if type(value) not in FIXED:
            # Functions of one module share the dictionary that their globals are put into.
            self._look_at(value, self.globals_ref.values())


def find_bound(value: Any) -> str | None:
    """Return what *value* is, as in ``a lock``, if it belongs to its process; or else None."""
    kind: Any = type(value)
    if kind in copyreg.dispatch_table or any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__")
    ):
        # The class says what is pickled of its objects, instead of all attributes.
        return None
    for base in kind.__mro__:
        what = _BOUND.get((base.__module__, base.__name__))
        if what is not None:
            return what
    if not hasattr(kind, "fileno") or value is sys.stdout or value is sys.stderr:
        return None
    if (kind.__module__, kind.__name__) == ("tempfile", "SpooledTemporaryFile"):
        # Asked for its descriptor, it would make a file of what it has in memory.
        return None
    try:
        number = value.fileno()
    except Exception:
        # It is closed, or has none.
        return None
    # The copy would use the file that has that number elsewhere.
    is_open = isinstance(number, int) and number >= 0
    return f"an open {kind.__name__}, file descriptor {number}," if is_open else None


def _reduce_builtin(cls: type) -> Any:
    make, arguments = cloudpickle._class_reduce(cls)
    return find_builtin_type if make is cloudpickle._builtin_type else make, arguments


def dump(pickler: Pickler, value: Any) -> Sealed:
    """Seal *value* with *pickler*."""
    try:
        pickler.dump(value)
        flags = CONTAINS_CODE if pickler.contains_code else 0
        buffers = pickler.buffers
        if any(pickler.storages):
            from fal_core_worker.buffers.tensors import narrow

            buffers = narrow(buffers, pickler.storages)
        parts = assemble(pickler.pieces, tuple(buffers), flags=flags, divisible=pickler.beside)
        return Sealed(*parts)
    finally:
        # The pickler is part of a reference cycle: free what is large now.
        pickler.clear_memo()
        pickler.pieces.clear()
        pickler.buffers.clear()
        pickler.storages.clear()


def seal(
    value: Any, what: str, remedy: str, names: Sequence[str] = (), **options: Any
) -> Sealed:
    """
    Seal *value*.

    Arguments:
        what: What the value is, for the error message, as in ``the result of 'f'``.

        remedy: What to do instead, as a sentence.

        names: The names of the parts of *value* in the error message, if it is a tuple.

    Raises:
        SealingError: It cannot be pickled.
        SharedObject: It is a list of what belongs to different calls, which share an object.
    """
    plain = seal_plain(value, beside=options.get("beside", True))
    if plain is not None:
        return Sealed(*plain)
    try:
        apart = options.get("apart")
        return dump(ApartPickler(value, **options) if apart else Pickler(**options), value)
    except SharedObject:
        raise
    except Exception as error:
        where = _find_culprit(value, options, names)
        raise SealingError(
            f"{what[:1].upper()}{what[1:]} cannot travel{where}: {error}. {remedy}"
        ) from error


def _find_culprit(value: Any, options: dict[str, Any], names: Sequence[str]) -> str:
    path = find_path(value, options, names).lstrip(".")
    return f" because of {path}" if path else ""


def find_path(value: Any, options: dict[str, Any], names: Sequence[str] = ()) -> str:
    """
    Return the path to what cannot be pickled in *value*, as in ``.settings['lock']``.

    Arguments:
        options: Those of the pickler.

        names: The names of the parts of *value*, if it is a tuple.
    """
    path = ""
    for depth in range(8):
        if find_bound(value) is not None:
            # What it consists of is nothing that a user would know.
            break
        parts = _parts(value)
        if depth == 0 and isinstance(value, tuple) and len(names) == len(parts):
            parts = [(name, part) for name, (_, part) in zip(names, parts, strict=True)]
        for step, part in parts:
            try:
                dump(Pickler(**options), part)
            except Exception:
                path, value = path + step, part
                break
        else:
            break
    return path


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in list(value.items())[:100]]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", part) for index, part in enumerate(value[:100])]
    return [(f".{name}", part) for name, part in getattr(value, "__dict__", {}).items()]
