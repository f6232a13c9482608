"""Sealing functions: each is pickled once, for many calls."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.calls import SealedFunction, SourceArchive
from fal_core.digests import blake2b
from fal_core.errors import FalSerializationError
from fal_core.events import Sealed
from fal_core.reprs import show_fields
from fal_core.sealing.fingerprints import Captures, Name, annotated_classes
from fal_core.sealing.stubs import stub_reducers

if TYPE_CHECKING:
    from fal_core.sealing.edits import Edits
    from fal_core_worker.opening.pickling import Pickler


@attrs.frozen(kw_only=True, eq=False)
class FunctionSeal:
    """
    A sealed function, and what was captured when it was sealed.

    Attributes:
        name: The name of the function, for messages.

        sources: Archives that its imports need on ``sys.path`` beside the environment.

        by_value: Tells whether the objects of a module, given by name, travel by value.

        classes: The classes that travelled with the function.

        captures: The objects that the function referred to when it was sealed.

        edits: The files that were read for it, which may change. None where there are none.
    """

    __repr__ = show_fields

    name: str
    sealed: SealedFunction
    sources: tuple[SourceArchive, ...]
    by_value: Callable[[str], bool]
    classes: frozenset[type]
    captures: Captures
    edits: Edits | None


def seal_function(
    func: Callable[..., Any],
    *,
    local_python_modules: Iterable[str] = (),
    portable: bool = False,
) -> FunctionSeal:
    """
    Seal *func* for many calls.

    Arguments:
        local_python_modules: Modules that travel as source beside those that are found.

        portable: Whether to make the form for other Python versions too.

    Raises:
        FalSerializationError: It cannot be pickled.

        OptionError: A module of *local_python_modules* does not exist.
    """
    from fal_core.sealing.dependencies import used_modules
    from fal_core.sealing.edits import Edits, own_module
    from fal_core.sealing.sources import archived_files, archives, local_modules
    from fal_core_worker.opening.pickling import reducers

    reducers.update(stub_reducers)
    name = getattr(func, "__qualname__", None) or type(func).__name__
    modules = local_modules(func, local_python_modules)
    files = archived_files(modules, local_python_modules)
    own = own_module(func)
    edits = None
    if files or own is not None:
        # Before they are read: an edit meanwhile is not missed.
        paths = [path for inside in files.values() for path in inside.values()]
        edits = Edits(paths, modules, own)
    by_value = ByValue(func, modules)
    needs = {module: tuple(names) for module, names in used_modules(func).items()}
    head = pickle.dumps((name, needs), 5)
    named = annotated_classes(func, by_value)
    other, refusal, named = _seal_portable(func, named, head, by_value, wanted=portable)
    try:
        native, pickler = _seal_native(func, named, head, by_value)
    except FalSerializationError:
        if not named:
            raise
        # A class that only an annotation names must not keep the function at home.
        named = []
        native, pickler = _seal_native(func, named, head, by_value)
    return FunctionSeal(
        name=name,
        sealed=SealedFunction(
            digest=_digest(native), native=native, portable=other, refusal=refusal
        ),
        sources=archives(files),
        by_value=by_value,
        classes=frozenset(pickler.classes),
        captures=Captures.of(pickler.functions, named),
        edits=edits,
    )


def _seal_native(
    func: Callable[..., Any],
    named: list[Name],
    head: bytes,
    by_value: Callable[[str], bool],
) -> tuple[Sealed, Pickler]:
    from fal_core_worker.opening.pickling import Pickler

    # Workers are sent, and keep, functions as one piece of data.
    pickler = Pickler(by_value=by_value, beside=False)
    try:
        return _dump(pickler, head, func, named), pickler
    except Exception as error:
        culprit = Captures.of(pickler.functions).find_culprit(by_value)
        name = getattr(func, "__qualname__", None) or type(func).__name__
        raise FalSerializationError(
            f"Function {name!r} cannot travel{culprit}: {error}. Make that in "
            "the function, or in its setup_function."
        ) from error


def _dump(pickler: Pickler, head: bytes, func: Any, named: list[Name]) -> Sealed:
    from fal_core_worker.opening.pickling import dump

    pickler.pieces.append(head)
    return Sealed(*dump(pickler, (func, *(value for _, _, value in named))))


def _seal_portable(
    func: Callable[..., Any],
    named: list[Name],
    head: bytes,
    by_value: Callable[[str], bool],
    *,
    wanted: bool,
) -> tuple[Sealed | None, str, list[Name]]:
    if not wanted:
        return None, "", named
    from fal_core.sealing.function_source import NotPortable
    from fal_core.sealing.portability import PortablePickler

    try:
        pickler = PortablePickler(by_value=by_value, beside=False)
        return _dump(pickler, head, func, named), "", named
    except NotPortable as error:
        refusal = str(error)
    except Exception as error:
        refusal = f"It cannot be written as source: {error}"
    if not named:
        return None, refusal, named
    # It may be portable without the classes that only its annotations name.
    found, again, _ = _seal_portable(func, [], head, by_value, wanted=True)
    return found, again, named if found is None else []


class ByValue:
    """Tells whether the objects of a module, given by name, travel by value."""

    def __init__(self, func: Callable[..., Any], archived: Iterable[str] = ()) -> None:
        from fal_core.sealing.imports import is_installed, is_standard

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


def _digest(sealed: Sealed) -> str:
    digest = blake2b(sealed.data, digest_size=20)
    for buffer in sealed.buffers:
        digest.update(buffer)
    return digest.hexdigest()
