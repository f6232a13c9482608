"""
The modules that functions and classes which travelled come from.

Pickle, and with it every pool of processes, refers to a function by its module and
its name. What travels by value has left its module behind, so a worker answers for
it: under the name of its module it is found for as long as somebody holds it.

Where a real module of that name can be imported, that one is found, and nothing is
added to it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from weakref import WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A module and a name in it.
Name = tuple[str, str]

# By module and name; None in a process that is no worker, where nothing is published.
_published: dict[str, WeakValueDictionary[str, Any]] | None = None
_collected: list[list[Name]] = []
# Publishes a name that is asked for first, where there is more to publish.
_seek: Callable[[str, str], None] | None = None
_modules: frozenset[str] = frozenset()


class Origin(types.ModuleType):
    """
    A module that did not travel, with what came from it.
    """

    def __getattr__(self, name: str) -> Any:
        return find(self.__name__, name)


class _Finder:
    # It is asked last, so that what can be imported is.
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        known = {*(_published or ()), *_modules}
        package = any(other.startswith(f"{name}.") for other in known)
        if not package and name not in known:
            return None
        # What is needed of a loader it has.
        return ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return Origin(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


_finder = _Finder()


def install(
    seek: Callable[[str, str], None] | None = None, modules: frozenset[str] = frozenset()
) -> None:
    """
    Have this process answer for what has travelled to it, from now on.

    Arguments:
        seek: Called with a module and a name that nothing has been published
            under, to publish it.

        modules: The modules that it may be called with.
    """
    global _published, _seek, _modules
    _published, _seek, _modules = {}, seek, modules
    sys.meta_path.append(_finder)


def publish(value: Any) -> None:
    """
    Answer for *value*, a function or class that has just arrived.

    It takes the place of another of its module and name.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", ".")
    if _published is None or not isinstance(module, str) or "." in name or name[0] == "<":
        return
    _published.setdefault(module, WeakValueDictionary())[name] = value
    for names in _collected:
        names.append((module, name))


@contextmanager
def collected_names() -> Iterator[list[Name]]:
    """
    Collect the names that are published meanwhile.
    """
    names: list[Name] = []
    _collected.append(names)
    try:
        yield names
    finally:
        _collected.remove(names)


def find(module: str, name: str) -> Any:
    """
    Return what has travelled from *module* under *name*.

    Raises:
        AttributeError: Nothing has, or it is gone.
    """
    if _published is not None and name[:2] != "__":
        if _seek is not None and name not in _published.get(module, ()):
            _seek(module, name)
        published = _published.get(module)
        value = None if published is None else published.get(name)
        if value is not None:
            return value
    raise AttributeError(
        f"{name!r} of module {module!r} did not travel to this worker. Move it to a module "
        "beside that one, and import it from there: such modules travel whole."
    )


def is_origin(module: str) -> bool:
    """
    Tell whether *module* is one that did not travel itself.
    """
    return isinstance(sys.modules.get(module), Origin)


def is_found(module: str) -> bool:
    """
    Tell whether *module* itself can be imported.
    """
    from importlib.util import find_spec

    if module in sys.modules:
        return not is_origin(module)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and not isinstance(spec.loader, _Finder)


def give_way() -> None:
    """
    Let real modules that can be imported by now be imported instead.
    """
    names = [name for name, module in list(sys.modules.items()) if type(module) is Origin]
    for name in names:
        module = sys.modules.pop(name)
        if not is_found(name):
            sys.modules[name] = module
