"""
Facts: the fields of an error, from which ``str`` makes its sentence.

attrs compiles a constructor for each class, which for the errors alone takes a quarter
of the time of importing fal-core. Here one constructor serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import inspect

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        return lambda decorator: decorator


ErrorT = TypeVar("ErrorT", bound=BaseException)


@dataclass_transform(eq_default=False)
def facts(cls: type[ErrorT]) -> type[ErrorT]:
    """
    Make the annotated fields of the error *cls* the arguments of its constructor.

    They follow the fields of its base, may be given by position or by name, and become
    attributes; values assigned in the class are defaults. Such errors pickle, and
    compare by identity as all errors do::

        @facts
        class OutOfPaper(HostError):
            printer: str
            tray: int = 1
    """
    inherited: tuple[str, ...] = getattr(cls, "__match_args__", ())
    names = tuple(dict.fromkeys((*inherited, *_annotations_of(cls))))
    cls.__match_args__ = names  # type: ignore[attr-defined,misc]  # exceptions have none
    cls.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # nor this
    cls.__init__ = _hold  # type: ignore[method-assign]  # its types are the decorator's
    return cls


def facts_of(error: BaseException | type[BaseException]) -> tuple[str, ...]:
    """Return the names of the fields of *error*, in the order of its constructor."""
    names: tuple[str, ...] = getattr(error, "__match_args__", ())
    return names


def with_facts(error: ErrorT, **changes: Any) -> ErrorT:
    """Return a new error like *error*, with the fields in *changes* replaced."""
    return type(error)(**{name: getattr(error, name) for name in facts_of(error)} | changes)


def copy_error(error: ErrorT) -> ErrorT:
    """
    Return an error like *error*, with its cause, that has notes and a traceback of its own;
    *error* itself if its class does not let it be copied.
    """
    from copy import copy

    try:
        other = copy(error)
        other.__cause__ = error.__cause__
        if hasattr(other, "__notes__"):
            other.__notes__ = [*other.__notes__]
    except Exception:
        return error
    return other


def _annotations_of(cls: type) -> dict[str, Any]:
    """Return the annotations that *cls* itself has."""
    try:
        return cls.__annotations__
    except AttributeError:
        return {}  # It is one of Python's own.
    except NameError:
        # From Python 3.14 on they are evaluated here, and name what only type checkers see.
        from fal_core_worker.annotations import annotations_of

        return annotations_of(cls)


class _Signature:
    """The signature that ``inspect`` shows for the constructor, made on demand."""

    def __get__(
        self, error: BaseException | None, cls: type[BaseException]
    ) -> inspect.Signature:
        import inspect

        types: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            types |= _annotations_of(base)
        return inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=getattr(cls, name, inspect.Parameter.empty),
                    annotation=types[name],
                )
                for name in facts_of(cls)
            ]
        )


_SIGNATURE = _Signature()


def _hold(self: BaseException, *args: Any, **kwargs: Any) -> None:
    cls = type(self)
    names = facts_of(cls)
    given = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        raise TypeError(f"{cls.__name__} takes {len(names)} facts, not {len(args)}.")
    if twice := given.keys() & kwargs.keys():
        raise TypeError(f"{cls.__name__} got {min(twice)!r} twice.")
    if unknown := kwargs.keys() - set(names):
        raise TypeError(f"{cls.__name__} has no fact {min(unknown)!r}, but {', '.join(names)}.")
    given |= kwargs
    missing = [name for name in names if name not in given and not hasattr(cls, name)]
    if missing:
        raise TypeError(f"{cls.__name__} needs {', '.join(missing)}.")
    held = {name: given[name] if name in given else getattr(cls, name) for name in names}
    # Exceptions pickle by their positional arguments.
    Exception.__init__(self, *held.values())
    self.__dict__.update(held)
