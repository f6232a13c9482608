"""Fingerprints: the objects that a function referred to when it was sealed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CellType, FunctionType
from typing import Any

import attrs

from fal_core.reprs import show_fields
from fal_core.sealing.imports import MAIN
from fal_core_worker.annotations import annotations_of

_ABSENT = object()

#: A namespace, a name in it, and what it stood for.
Name = tuple[Mapping[str, Any], str, Any]


@attrs.frozen(eq=False)
class Captures:
    """
    The objects that functions which travel by value together refer to.

    Attributes:
        names: Namespaces, the names looked up in them, and the objects found.

        cells: Variables of enclosing functions, and their contents.

        functions: The functions, with their code, defaults and keyword defaults.
    """

    __repr__ = show_fields

    names: tuple[Name, ...]
    cells: tuple[tuple[CellType, Any], ...]
    functions: tuple[tuple[FunctionType, Any, Any, Any], ...]

    @classmethod
    def of(cls, functions: Iterable[FunctionType], named: Iterable[Name] = ()) -> Captures:
        """Return the captures of *functions*, and *named* beside them."""
        from cloudpickle import cloudpickle

        names: dict[tuple[int, str], Name] = {(id(each[0]), each[1]): each for each in named}
        cells: list[tuple[CellType, Any]] = []
        states: list[tuple[FunctionType, Any, Any, Any]] = []
        for function in functions:
            space = function.__globals__
            for name in cloudpickle._extract_code_globals(function.__code__):
                names[id(space), name] = (space, name, space.get(name, _ABSENT))
            cells += [(cell, _content(cell)) for cell in function.__closure__ or ()]
            defaults = (function.__defaults__, function.__kwdefaults__)
            states.append((function, function.__code__, *defaults))
        return cls(tuple(names.values()), tuple(cells), tuple(states))

    def are_unchanged(self) -> bool:
        """
        Tell whether every capture is still the same object.

        It runs before each call.
        """
        for space, name, value in self.names:
            if space.get(name, _ABSENT) is not value:
                return False
        for cell, value in self.cells:
            if _content(cell) is not value:
                return False
        for function, code, defaults, keyword_defaults in self.functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keyword_defaults
            ):
                return False
        return True

    def find_culprit(self, by_value: Callable[[str], bool]) -> str:
        """
        Return which capture cannot be pickled, as part of a sentence; empty if none.

        Arguments:
            by_value: Tells whether the objects of a module travel by value.
        """
        from fal_core_worker.opening.pickling import Pickler, dump, find_path

        for what, name, value in self._named():
            try:
                dump(Pickler(by_value=by_value), value)
            except Exception:
                path = find_path(value, {"by_value": by_value})
                return f" because of {what.format(repr(name + path))}"
        return ""

    def _named(self) -> Iterator[tuple[str, str, Any]]:
        """Yield what each capture is, with a place for its name, its name and its value."""
        named = [("global {}", name, value) for _, name, value in self.names]
        for function, code, defaults, keyword_defaults in self.functions:
            cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
            outer = "variable {} of an enclosing function"
            named += [(outer, name, _content(cell)) for name, cell in cells]
            count = code.co_argcount
            names = code.co_varnames[count - len(defaults or ()) : count]
            given = dict(zip(names, defaults or (), strict=False)) | (keyword_defaults or {})
            named += [("the default of {}", name, value) for name, value in given.items()]
            attributes = vars(function).items()
            named += [(f"attribute {{}} of {function.__name__}", *each) for each in attributes]
        for what, name, value in named:
            if value is not _ABSENT and not isinstance(value, FunctionType):
                yield what, name, value


def annotated_classes(func: Any, by_value: Callable[[str], bool]) -> list[Name]:
    """
    Return classes that only annotations written as text name, and that travel by value.

    Arguments are likely to be instances of them: sealed with the function, the classes
    need not travel again with each call.
    """
    space = getattr(func, "__globals__", None)
    texts = [text for text in annotations_of(func).values() if isinstance(text, str)]
    if not texts or space is None:
        return []
    found = []
    for name in dict.fromkeys(re.findall(r"[^\W\d]\w*", " ".join(texts))):
        value = space.get(name)
        if isinstance(value, type) and (value.__module__ in MAIN or by_value(value.__module__)):
            found.append((space, name, value))
    return found


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT
