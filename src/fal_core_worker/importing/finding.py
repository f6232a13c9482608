"""What an import statement binds, found by its parts."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What a name at the top of a file stands for: a module, the modules below it that are
#: imported with it, and the member of it that is meant, as in ``member.attribute``. None
#: where the module is.
Parts = tuple[str, tuple[str, ...], "str | None"]


class ImportRaised(Exception):
    """
    A module that is there has raised while it was imported.

    Attributes:
        error: What it has raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def find(parts: Parts) -> Any:
    """Import what *parts* name, and return it as the statement would."""
    module, below, member = parts
    for each in (*below, module):
        __import__(each)
    if member is None:
        return sys.modules[module]
    first, *rest = member.split(".")
    # A member may be a module of the package, which this imports.
    package = __import__(module, None, None, (first,))
    try:
        value = getattr(package, first)
    except AttributeError:
        # It is not yet an attribute of a package that is being imported.
        value = sys.modules.get(f"{module}.{first}")
        if value is None:
            path = getattr(package, "__file__", None)
            raise ImportError(
                f"cannot import name {first!r} from {module!r} ({path or 'unknown location'})",
                name=module,
                path=path,
            ) from None
    for name in rest:
        value = getattr(value, name)
    return value


def is_missing(parts: Parts, error: ModuleNotFoundError) -> bool:
    """Tell whether *error* says that what *parts* name is not there, and not what it imports."""
    module, below, member = parts
    names = [module, *below] if member is None else [module, f"{module}.{member}"]
    return any(f"{each}.".startswith(f"{error.name}.") for each in names)


def open_reference(module: str, below: tuple[str, ...], member: str | None) -> Any:
    """
    Return what a reference that has arrived in a pickle stands for.

    Raises:
        ModuleNotFoundError: It is not there.

        ImportRaised: It is there, and importing it has raised.
    """
    parts = module, below, member
    try:
        return find(parts)
    except ModuleNotFoundError as error:
        if is_missing(parts, error):
            raise
        raise ImportRaised(error) from error
    except Exception as error:
        raise ImportRaised(error) from error
