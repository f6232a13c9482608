"""Typed options: made from what the user wrote, and written as JSON and back."""

from __future__ import annotations

import enum
import os
import weakref
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from fal_core.conversion.annotations import option_types
from fal_core.conversion.structuring import structure
from fal_core.environments import Environment
from fal_core.errors import OptionError, OptionTypeError, UnknownOptionError
from fal_core.options import TRAVELS_AS, Options

if TYPE_CHECKING:
    from fal_core.conversion.mismatches import Manner

T = TypeVar("T")
KeyT = TypeVar("KeyT")


def build(cls: type[T], written: Mapping[str, Any], *, manner: Manner = "written") -> T:
    """
    Return the *cls* that *written* declares; a value of None counts as not set.

    Each value is checked against its annotation, and then goes through the
    converter of its field, if it has one.

    Raises:
        OptionError: A value has a wrong type, is missing, or is refused by *cls*.
    """
    values = {name: value for name, value in written.items() if value is not None}
    if values:
        types = option_types(cls)
        values = {
            name: structure(value, types[name], name, manner=manner)
            for name, value in values.items()
        }
    for attribute in attrs.fields(cls):  # type: ignore[arg-type]
        if (
            attribute.init
            and attribute.default is attrs.NOTHING
            and attribute.alias not in values
        ):
            raise OptionError(f"Option {attribute.alias!r} is missing from {_title(cls)}.")
    try:
        return cls(**values)
    except OptionError:
        raise
    except (TypeError, ValueError) as error:
        raise OptionError(f"The options of {_title(cls)} are refused: {error}") from error


def unstructure(value: Any) -> dict[str, Any]:
    """
    Return the fields of *value* that differ from their defaults, as values for JSON.

    Functions are left out: they travel sealed. Fields whose values stay in this process are
    what their metadata ``TRAVELS_AS`` makes of them. The kind of an environment is among
    the fields. Paths become strings and enums names; :func:`restore` reads both.

    Raises:
        OptionTypeError: JSON cannot hold a value.
    """
    kind = {"kind": value.kind} if isinstance(value, Environment) else {}
    return kind | _unstructure_fields(value, "")


def restore(cls: type[T], travelled: Mapping[str, Any]) -> T:
    """
    Return the *cls* that :func:`unstructure` wrote as *travelled*.

    Raises:
        OptionError: *travelled* has a field that *cls* lacks, or one of a wrong type.
    """
    known = option_types(cls)
    for name in travelled:
        if name not in known:
            raise UnknownOptionError(name)
    return build(cls, travelled, manner="text")


def options_of(environment: Environment) -> dict[str, Any]:
    """Return the options of *environment* that differ from their defaults."""
    cls: Any = type(environment)
    options: dict[str, Any] = {}
    for attribute in attrs.fields(cls):
        value = getattr(environment, attribute.name)
        if attribute.init and not _is_default(value, attribute, environment):
            options[str(attribute.alias)] = value
    return options


class TypedOptionsCache(Generic[T]):
    """
    Keeps the typed value that was made from each ``Options``, for as long as they live.

    A value is made anew once the mapping that it was made from differs from a copy
    taken then, or the key is another object.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Options], object, dict[str, Any], T]] = {}

    def get(
        self,
        options: Options,
        written: dict[str, Any],
        key: KeyT,
        make: Callable[[Mapping[str, Any], KeyT], T],
    ) -> T:
        """Return the value of *options*, which *make* makes from *written* and *key*."""
        identity = id(options)
        kept = self._kept.get(identity)
        if kept is not None and kept[1] is key and kept[0]() is options:
            try:
                if written == kept[2]:
                    return kept[3]
            except Exception:
                # Some values, such as arrays, do not compare as True or False.
                pass
        snapshot = _copy(written)
        value = make(written, key)

        def forget(_: object) -> None:
            self._kept.pop(identity, None)

        self._kept[identity] = (weakref.ref(options, forget), key, snapshot, value)
        return value


def _copy(value: Any) -> Any:
    """Return *value* with every plain container in it copied."""
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copy, value))
    return set(value) if type(value) is set else value


def _title(cls: type) -> str:
    kind = getattr(cls, "kind", None)
    return f"kind {kind!r}" if issubclass(cls, Environment) else cls.__name__


def _unstructure_fields(value: Any, where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for attribute in attrs.fields(type(value)):
        item = getattr(value, attribute.name)
        if not attribute.init or callable(item) or _is_default(item, attribute, value):
            continue
        if TRAVELS_AS in attribute.metadata:
            item = attribute.metadata[TRAVELS_AS](item)
        fields[attribute.alias] = _unstructure(item, f"{where}{attribute.alias}")
    return fields


def _is_default(item: Any, attribute: attrs.Attribute[Any], owner: Any) -> bool:
    default: Any = attribute.default
    # A class, typed as a function.
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory(owner) if default.takes_self else default.factory()
    try:
        return bool(type(item) is type(default) and item == default)
    except Exception:
        return False


def _unstructure(value: Any, where: str) -> Any:
    if value is None or type(value) in (str, bool, int, float):
        return value
    for primitive in (str, bool, int, float):
        if isinstance(value, primitive):
            return primitive(value.value if isinstance(value, enum.Enum) else value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {
            _key(key, where): _unstructure(item, f"{where}[{key!r}]")
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_unstructure(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Set):
        return sorted((_unstructure(item, where) for item in value), key=repr)
    if attrs.has(type(value)):
        return _unstructure_fields(value, f"{where}.")
    from fal_core.conversion.mismatches import show

    raise OptionTypeError(
        where, show(value), "a value that JSON can hold, to leave this process"
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        from fal_core.conversion.mismatches import show

        raise OptionTypeError(
            where, show(key), "a mapping with strings for keys, to leave this process"
        )
    return str(key)
