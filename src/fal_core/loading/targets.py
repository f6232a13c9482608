"""Targets: the isolated functions that ``file.py::name`` stands for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fal_core.errors import FalCoreError, OptionError, PluginError
from fal_core.facts import facts
from fal_core.functions import IsolatedFunction
from fal_core.plugins.entry_points import find_entry_points
from fal_core.sealing.imports import is_installed

#: Frames of this folder are left out of the tracebacks of the user's modules.
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class TargetError(OptionError):
    """A target names no isolated function."""


@facts
class TargetImportError(OptionError):
    """
    The module of a target cannot be imported.

    Attributes:
        traceback: Where the module raised, as Python prints it; empty where the
            message says it.
    """

    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return self.message


def load_target(target: str) -> IsolatedFunction[..., Any]:
    """
    Return the isolated function that *target* names, as in ``file.py::name``.

    A module may take the place of the file, as in ``package.module::name``. The name may
    be left out where there is only one isolated function.

    Raises:
        TargetError: There is no such function.

        TargetImportError: Its module cannot be imported.
    """
    found = load_targets(target)
    if len(found) > 1:
        raise TargetError(_choices(target, found))
    return next(iter(found.values()))


def load_targets(target: str) -> dict[str, IsolatedFunction[..., Any]]:
    """
    Return the isolated functions that *target* names, by their names: one, or without a name
    all of its file or module, in the order in which they are declared.

    Raises:
        TargetError: There is none.

        TargetImportError: Their module cannot be imported.
    """
    place, separator, name = target.partition("::")
    if not place or (separator and not name):
        raise TargetError(
            f"{target!r} does not name a function. Write it as in 'file.py::name'."
        )
    module = load_module(place)
    found = functions_of(module)
    if os.path.isdir(place) and getattr(module, "__file__", None) is None:
        # Python imports any directory as a package.
        raise TargetError(_directory(place))
    if not name:
        if not found:
            raise TargetError(_choices(place, found))
        return found
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    function = as_function(value)
    if function is not None:
        return {name: function}
    if value is not None:
        raise TargetError(
            f"{name!r} in {place} is not an isolated function. Decorate it with @function(…)."
        )
    raise TargetError(f"There is no {name!r} in {place}. {_choices(place, found)}")


def functions_of(module: ModuleType) -> dict[str, IsolatedFunction[..., Any]]:
    """Return the isolated functions that *module* itself defines, applications included."""
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, IsolatedFunction)
    }
    own = {
        name: value
        for name, value in found.items()
        if getattr(value.raw_func, "__module__", None) == module.__name__
    }
    applications = {
        name: value.to_function()
        for name, value in vars(module).items()
        if is_application(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    return {**own, **applications} or found


def as_function(value: Any) -> IsolatedFunction[..., Any] | None:
    """Return *value* if it is an isolated function, or the function of an application."""
    if is_application(value):
        value = value.to_function()
    return value if isinstance(value, IsolatedFunction) else None


def is_application(value: Any) -> bool:
    """Tell whether *value* is a class that can be served: it has ``to_function``."""
    return isinstance(value, type) and callable(getattr(value, "to_function", None))


def load_module(place: str) -> ModuleType:
    """
    Import the file or the module *place*; its neighbours become importable too.

    Raises:
        TargetError: There is no such file or module.

        TargetImportError: It cannot be imported.
    """
    try:
        if place.endswith(".py") or os.sep in place:
            return _load_file(place)
        put_first(os.getcwd())
        return importlib.import_module(place)
    except (TargetError, TargetImportError):
        raise
    except (OptionError, PluginError) as error:
        raise TargetImportError(_locate(error)) from error
    except SystemExit as error:
        raise TargetImportError(
            f"{place} exits where it is imported. Put what it does as a program under "
            "if __name__ == '__main__'."
        ) from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_missing(place, error.name):
            # Servers of other frameworks take one colon.
            hint = f" Write two colons: {place.replace(':', '::')!r}." if ":" in place else ""
            raise TargetError(f"There is no module {place}.{hint}") from error
        if isinstance(error, ModuleNotFoundError):
            from fal_core.importing.missing import explain_import

            sentence = explain_import(error)
            if sentence is not None:
                raise TargetImportError(sentence) from error
        said = error if isinstance(error, FalCoreError) else f"{type(error).__name__}: {error}"
        raise TargetImportError(
            f"{place} could not be imported: {said}", _traceback_of(error)
        ) from error


def _load_file(place: str) -> ModuleType:
    path = os.path.abspath(place)
    if os.path.isdir(path):
        raise TargetError(_directory(place))
    if not os.path.isfile(path):
        raise TargetError(f"There is no file {place}.")
    folder, name = os.path.split(path)
    names = [os.path.splitext(name)[0]]
    # A file of a package is imported as part of it, so that its relative imports work.
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        names.insert(0, name)
    whole = ".".join(names)
    with loading_from(folder):
        forget_file(whole, path)
        if not names[1:]:
            return _execute(whole, path)
        module = importlib.import_module(whole)
        if not _is_file(module, path):
            raise _in_use(path, whole)
        return module


def _is_file(module: ModuleType, path: str) -> bool:
    found = getattr(module, "__file__", None)
    return isinstance(found, str) and os.path.realpath(found) == os.path.realpath(path)


def _in_use(path: str, name: str) -> TargetImportError:
    return TargetImportError(
        f"{os.path.basename(path)} has the name of a module that is in use, {name!r}. "
        "Give the file another name."
    )


def _execute(name: str, path: str) -> ModuleType:
    if name in sys.modules:
        raise _in_use(path, name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_missing(place: str, name: str | None) -> bool:
    """Tell whether the missing module *name* is *place* or a package around it."""
    return name is not None and f"{place}.".startswith(f"{name}.")


def _directory(place: str) -> str:
    example = os.path.join(place, "file.py::name")
    return f"{place} is a directory. Name a file in it, as in {example!r}."


def _choices(place: str, found: dict[str, IsolatedFunction[..., Any]]) -> str:
    if not found:
        return f"{place} has no isolated function. Decorate one with @function(…)."
    names = sorted(found)
    example = f"{place}::{names[0]}"
    return (
        f"{place} has these isolated functions: {', '.join(names)}. "
        f"Name one of them, as in {example!r}."
    )


def _locate(error: FalCoreError) -> str:
    """Return the sentence of *error* after the file and line of the wrong declaration."""
    core = frozenset(("fal_core", "fal_core_worker"))
    # Frames of plugins that check a declaration are passed over; if none are left, the
    # plugin itself holds the declaration.
    checking = core.union(re.split(r"[.:]", each.value)[0] for each in find_entry_points())
    return f"{_place_of(error, checking) or _place_of(error, core)}{error}"


def _place_of(error: FalCoreError, checking: frozenset[str]) -> str:
    """
    Return the last file and line before code of *checking*; empty if there is none.

    Arguments:
        checking: Names of packages.
    """
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path.startswith("<"):
            continue
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in checking:
            place = f"{os.path.relpath(path)}:{line}: "
        elif place:
            break
    return place


def _traceback_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((_OURS, "<")):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    return "".join(lines).rstrip()


# They give way when another target is loaded, so that its files are read, and not those of
# the same names in another folder, or as they were before.

#: The folder from which a module was loaded, with the module, by its name.
_loaded: dict[str, tuple[str, ModuleType]] = {}


@contextmanager
def loading_from(folder: str) -> Iterator[None]:
    """
    Import what *folder* has from there, in the context: modules that earlier targets have
    brought give way if they are from this folder, or have the names of its files.
    """
    for name, (origin, module) in list(_loaded.items()):
        if origin == folder or _has_module(folder, name.partition(".")[0]):
            del _loaded[name]
            if sys.modules.get(name) is module:
                del sys.modules[name]
    # Files may have been written since Python has last looked.
    importlib.invalidate_caches()
    before = frozenset(sys.modules)
    put_first(folder)
    try:
        yield
    finally:
        for name in sys.modules.keys() - before:
            module = sys.modules[name]
            path = getattr(module, "__file__", None) or ""
            if path.startswith(os.path.join(folder, "")) and not is_installed(name):
                _loaded[name] = folder, module


def put_first(folder: str) -> None:
    """Have modules imported from *folder* before all others. It stands on ``sys.path`` once."""
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]


def forget_file(name: str, path: str) -> None:
    """
    Have the module *name* imported again if the program itself has imported it from *path*.

    A file with the name of a module of Python stays: others have it in the place of that.
    """
    if name == "__main__" or name in sys.stdlib_module_names:
        return
    if getattr(sys.modules.get(name), "__file__", None) == path:
        del sys.modules[name]


def _has_module(folder: str, name: str) -> bool:
    place = os.path.join(folder, name)
    return os.path.isfile(f"{place}.py") or os.path.isdir(place)
