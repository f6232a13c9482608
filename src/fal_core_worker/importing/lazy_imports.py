"""
What ``lazy import`` of Python 3.15 leaves in a namespace, taken apart without importing it.

An object of this kind tells its parts to the garbage collector alone. It holds the name of
its module, or the object that it comes from and a name in that.
"""

from __future__ import annotations

import gc
import types

from fal_core_worker.importing.finding import open_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.importing.finding import Parts

#: The class of these objects. None before Python 3.15.
LAZY: type | None = getattr(types, "LazyImportType", None)


def parts_of(value: Any) -> Parts:
    """Return the parts of what *value* stands for."""
    outer, name = _held(value)
    if outer is not None:
        return _path(outer), (), name
    top = name.partition(".")[0]
    return top, (name,) if name != top else (), None


def reduce_lazy_import(value: Any) -> tuple[Any, ...]:
    """Return *value* as an import, for pickle."""
    return open_reference, parts_of(value)


def _path(value: Any) -> str:
    """Return the module that *value* is, where another one is taken from it."""
    outer, name = _held(value)
    if outer is not None:
        # import a.b.c as d
        return f"{_path(outer)}.{name}"
    is_from = any(isinstance(each, tuple) for each in gc.get_referents(value))
    return name if is_from else name.partition(".")[0]


def _held(value: Any) -> tuple[Any, str]:
    held = gc.get_referents(value)
    outer = [each for each in held if type(each) is LAZY]
    names = [each for each in held if isinstance(each, str)]
    if len(names) != 1 or len(outer) > 1:
        raise TypeError(f"{value!r} does not tell what it imports")
    return (outer[0] if outer else None), names[0]
