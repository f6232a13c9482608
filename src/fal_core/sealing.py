"""
Sealing: functions once, arguments each time; and the only place that opens.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import SealedFunction, SourceArchive
from fal_core.errors import FalMissingDependencyError, FalSerializationError
from fal_core_worker.raised import MissingModule, SealingError
from fal_core_worker.seals import PLAIN_PREFIX, PREFIX_SIZE, Sealed, dump_plain

if TYPE_CHECKING:
    from types import CellType, FunctionType

#: How instances of a type travel where a function refers to them.
stub_reducers: dict[type, Callable[[Any], tuple[Any, ...]]] = {}

_ABSENT = object()

#: What the worker, which has no fal_core, calls by other names.
_OWN = {
    "FalSerializationError": FalSerializationError,
    "FalMissingDependencyError": FalMissingDependencyError,
}


@attrs.frozen(kw_only=True, eq=False)
class FunctionSeal:
    """
    A sealed function, and what was captured when it was sealed.

    Attributes:
        name: Of the function, for messages.

        sources: What its imports need on ``sys.path`` beside the environment.

        by_value: Tells of a module's name whether its objects travel by value.

        classes: The classes that travelled with the function.
    """

    name: str
    sealed: SealedFunction
    sources: tuple[SourceArchive, ...]
    by_value: Callable[[str], bool]
    classes: frozenset[type]
    _globals: tuple[tuple[Mapping[str, Any], str, Any], ...]
    _cells: tuple[tuple[CellType, Any], ...]
    _functions: tuple[tuple[FunctionType, Any, Any, Any], ...]

    def is_fresh(self) -> bool:
        """
        Tell whether every captured global, cell and default is the same object.
        """
        for space, name, value in self._globals:
            if space.get(name, _ABSENT) is not value:
                return False
        for cell, value in self._cells:
            if _content(cell) is not value:
                return False
        for function, code, defaults, keyword_defaults in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keyword_defaults
            ):
                return False
        return True


def seal_function(
    func: Callable[..., Any],
    *,
    local_python_modules: Iterable[str] = (),
    portable: bool = False,
) -> FunctionSeal:
    """
    Seal *func* for many calls.

    Arguments:
        local_python_modules: Modules that travel as source beside those found.

        portable: Make the form for other Python minors too.

    Raises:
        FalSerializationError: It cannot be pickled.

        OptionError: A module of *local_python_modules* does not exist.
    """
    from fal_core.dependencies import used_modules
    from fal_core.sources import archives, local_modules
    from fal_core_worker.pickling import Pickler, dump, reducers

    reducers.update(stub_reducers)
    name = getattr(func, "__qualname__", None) or type(func).__name__
    modules = local_modules(func, local_python_modules)
    by_value = ByValue(func, modules)
    needs = {module: tuple(names) for module, names in used_modules(func).items()}
    head = pickle.dumps((name, needs), 5)
    pickler = Pickler(by_value=by_value)
    pickler.file.write(head)
    try:
        native = dump(pickler, func)
    except Exception as error:
        raise FalSerializationError(
            f"Function {name!r} cannot travel{_culprit(pickler.functions)}: {error}"
        ) from error
    other, refusal = _seal_portable(func, head, by_value) if portable else (None, "")
    return FunctionSeal(
        name=name,
        sealed=SealedFunction(
            digest=_digest(native), native=native, portable=other, refusal=refusal
        ),
        sources=archives(modules, local_python_modules),
        by_value=by_value,
        classes=frozenset(pickler.classes),
        **_captured(pickler.functions),
    )


def _seal_portable(
    func: Callable[..., Any], head: bytes, by_value: Callable[[str], bool]
) -> tuple[Sealed | None, str]:
    from fal_core.portability import NotPortable, PortablePickler
    from fal_core_worker.pickling import dump

    pickler = PortablePickler(by_value=by_value)
    pickler.file.write(head)
    try:
        return dump(pickler, func), ""
    except NotPortable as error:
        return None, str(error)
    except Exception as error:
        return None, f"It cannot be written as source: {error}"


class ByValue:
    """
    Tells of a module's name whether its objects travel by value.
    """

    def __init__(self, func: Callable[..., Any], archived: Iterable[str] = ()) -> None:
        from fal_core.imports import is_installed, is_standard

        self._is_installed = is_installed
        self._known = dict.fromkeys(archived, False)
        module = getattr(func, "__module__", None)
        if module is not None and not is_standard(module):
            self._known[module] = True

    def __call__(self, module: str) -> bool:
        known = self._known.get(module)
        if known is None:
            known = self._known[module] = not self._is_installed(module)
        return known


def seal_arguments(value: Any, seal: FunctionSeal) -> Sealed:
    """
    Seal the arguments of one call, or a list of those of many.

    Raises:
        FalSerializationError: They cannot be pickled.
    """
    data = dump_plain(value)
    if data is not None:
        return Sealed(data)
    from fal_core_worker import pickling

    what = f"an argument of {seal.name!r}"
    try:
        return pickling.seal(
            value, what, ("args", "kwargs"), by_value=seal.by_value, known=seal.classes
        )
    except SealingError as error:
        raise FalSerializationError(str(error)) from error.__cause__


def open_value(sealed: Sealed, seal: FunctionSeal) -> Any:
    """
    Open what the function returned or yielded.

    Raises:
        FalSerializationError: It cannot be opened by this Python.
    """
    data = sealed.data
    if data[:PREFIX_SIZE] == PLAIN_PREFIX and len(data) < 4096 and not sealed.buffers:
        try:
            return pickle.loads(data[PREFIX_SIZE:])
        except Exception:
            pass  # It fails again below, where the error is made.
    from fal_core_worker.pickling import open_sealed

    try:
        return open_sealed(sealed, f"the result of {seal.name!r}")
    except MissingModule as error:
        raise FalMissingDependencyError(str(error)) from error.__cause__
    except SealingError as error:
        raise FalSerializationError(str(error)) from error.__cause__


def open_error(sealed: Sealed, seal: FunctionSeal) -> BaseException:
    """
    Return the exception that the function raised, its traceback there as cause.

    It is the exception itself wherever it can be; otherwise a stand-in whose class
    has the same name and bases.
    """
    from fal_core_worker import rebuilding

    return rebuilding.open_error(sealed, _OWN)


def _digest(sealed: Sealed) -> str:
    digest = hashlib.blake2b(sealed.data, digest_size=20)
    for buffer in sealed.buffers:
        digest.update(buffer)
    return digest.hexdigest()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def _captured(functions: Iterable[FunctionType]) -> dict[str, Any]:
    from cloudpickle import cloudpickle

    spaces: list[tuple[Mapping[str, Any], str, Any]] = []
    cells: list[tuple[CellType, Any]] = []
    states: list[tuple[FunctionType, Any, Any, Any]] = []
    for function in functions:
        space = function.__globals__
        for name in cloudpickle._extract_code_globals(function.__code__):
            spaces.append((space, name, space.get(name, _ABSENT)))
        cells += [(cell, _content(cell)) for cell in function.__closure__ or ()]
        states.append(
            (function, function.__code__, function.__defaults__, function.__kwdefaults__)
        )
    unique = {(id(space), name): (space, name, value) for space, name, value in spaces}
    return {
        "globals": tuple(unique.values()),
        "cells": tuple(cells),
        "functions": tuple(states),
    }


def _culprit(functions: Iterable[FunctionType]) -> str:
    from fal_core_worker.pickling import Pickler, dump

    captured = _captured(functions)
    named = [(f"global {name!r}", value) for _, name, value in captured["globals"]]
    named += [("a variable of an enclosing function", value) for _, value in captured["cells"]]
    for what, value in named:
        if value is _ABSENT or type(value).__name__ == "function":
            continue
        try:
            dump(Pickler(), value)
        except Exception:
            return f" because of {what}"
    return ""
