"""
Stand-ins for the modules that functions and classes have left behind.

Pickle, and with it every process pool, refers to a function by its module and its name.
A function that travels by value arrives without its module. So a worker makes a module
of that name, in which the function is found for as long as it is held.

If a real module of that name can be imported, that one is used, and nothing is added.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from weakref import WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A module and a name in it.
Name = tuple[str, str]

# By module and name. None in a process that is no worker: it publishes nothing.
_published: dict[str, WeakValueDictionary[str, Any]] | None = None
_collected: list[CollectedNames] = []
# In a child process of a worker: publishes a name when it is first looked up.
_seek: Callable[[str, str], None] | None = None
_modules: frozenset[str] = frozenset()


class Origin(types.ModuleType):
    """A module that did not travel itself. It holds what has arrived of it."""

    def __getattr__(self, name: str) -> Any:
        return find(self.__name__, name)


class _Finder:
    # It comes last in ``sys.meta_path``, so that real modules are found first.
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        known = {*(_published or ()), *_modules}
        package = any(other.startswith(f"{name}.") for other in known)
        if not package and name not in known:
            return None
        # It has the methods of a loader that are needed.
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
    Publish what arrives in this process from now on.

    Arguments:
        seek: Called with a module and a name under which nothing was published, to
            publish it.

        modules: The modules that *seek* knows.
    """
    global _published, _seek, _modules
    _published, _seek, _modules = {}, seek, modules
    sys.meta_path.append(_finder)


def publish(value: Any) -> None:
    """
    Make *value*, a function or class that has just arrived, importable by its name.

    It replaces an earlier one of the same module and name.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", ".")
    if _published is None or not isinstance(module, str) or "." in name or name[0] == "<":
        return
    _published.setdefault(module, WeakValueDictionary())[name] = value
    for names in _collected:
        names.append((module, name))


class CollectedNames(list[Name]):
    """The names that are published inside this context. Contexts of threads do not overlap."""

    # A worker starts without ``contextlib``.
    def __enter__(self) -> CollectedNames:
        _collected.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _collected.pop()


def find(module: str, name: str) -> Any:
    """
    Return what has arrived of *module* under *name*.

    Raises:
        AttributeError: Nothing has, or nobody holds it any more.
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
    """Tell whether *module* is a stand-in."""
    return isinstance(sys.modules.get(module), Origin)


def is_found(module: str) -> bool:
    """Tell whether the real *module* can be imported."""
    from importlib.util import find_spec

    if module in sys.modules:
        return not is_origin(module)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and not isinstance(spec.loader, _Finder)


def give_way() -> None:
    """Drop the stand-ins of modules that can be imported by now."""
    names = [name for name, module in list(sys.modules.items()) if type(module) is Origin]
    for name in names:
        module = sys.modules.pop(name)
        if not is_found(name):
            sys.modules[name] = module
