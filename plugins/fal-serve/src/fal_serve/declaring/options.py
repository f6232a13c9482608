"""
Options that the classes of applications declare.

They are needed where an application is launched, and do not travel with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fal_serve.declaring.errors import declaration_error

#: Options that are attributes of applications.
ATTRIBUTES = (
    *("requirements", "requirements_context_dir", "python_version", "resolver"),
    *("kind", "image"),
    *("machine_type", "num_gpus", "regions"),
    *("app_files", "app_files_ignore", "app_files_context_dir"),
    *("keep_alive", "min_concurrency", "max_concurrency", "scaling_delay"),
    *("concurrency_buffer", "concurrency_buffer_perc", "max_multiplexing"),
    *("request_timeout", "request_start_timeout", "startup_timeout", "metrics_port"),
    *("termination_grace_period_seconds", "skip_retry_conditions", "retry_config"),
    *("secrets", "data_mounts"),
)

#: Attributes that belong to the isolated function made from the class.
_OF_FUNCTION = ("app_name", "app_auth", "local_python_modules")

#: Attributes that belong to the service, and travel with the class.
_OF_SERVICE = ("cors",)

#: Those whose names are not everyday words such as ``image``.
_LONG = tuple(each for each in (*ATTRIBUTES, *_OF_FUNCTION) if "_" in each or len(each) > 8)

_PLAIN = (str, bytes, int, float, bool, type(None))


class DeclaredOptions(dict[str, Any]):
    """Options by name, which pickle as an empty mapping."""

    def __reduce__(self) -> Any:
        return DeclaredOptions, ()


class LocalAttribute:
    """A class attribute whose value may not pickle. It travels as None."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self.value

    def __reduce__(self) -> Any:
        return LocalAttribute, ()


class ClassStatement(NamedTuple):
    """
    The options in the statement of one class.

    Attributes:
        attributes: Options by name; None if the class resets one.

        name: The name of the application, if it is given.
    """

    attributes: DeclaredOptions
    name: str | None


@dataclass(frozen=True, kw_only=True)
class ApplicationDeclaration:
    """
    What an application's class declares about its launch.

    Attributes:
        served: The class itself. It is never called with arguments.

        options: Options as ``fal_core.function`` takes them.
    """

    served: Any
    options: Mapping[str, Any]
    app_name: str | None
    app_auth: Literal["public", "private", "shared"] | None
    local_python_modules: Sequence[str]


def read_class(cls: type, keywords: dict[str, Any]) -> ClassStatement:
    """
    Return the options in the statement of *cls*, including its class keywords.

    Keywords that are attributes of every application become attributes of *cls*.

    Raises:
        ValueError: An option is given twice, or an attribute is nearly named like one.
    """
    space = vars(cls)
    extra = space.get("host_kwargs", {})
    if not isinstance(extra, dict):
        raise declaration_error(
            f"Class {cls.__name__!r}: host_kwargs must be a dictionary of options, "
            f"not {extra!r}."
        )
    for name in space:
        _check_attribute(cls, name)
    attributes = DeclaredOptions(extra)
    for keyword, value in keywords.items():
        if keyword in space:
            raise declaration_error(
                f"Class {cls.__name__!r}: {keyword!r} is written as a keyword of the class "
                "and as its attribute. Write one."
            )
        if keyword in (*ATTRIBUTES, *_OF_FUNCTION, *_OF_SERVICE):
            setattr(cls, keyword, value)
        elif keyword == "options" and isinstance(value, Mapping):
            attributes.update(value)
        else:
            attributes[keyword] = value
    for each in _OF_SERVICE:
        if not isinstance(vars(cls).get(each, True), bool):
            raise declaration_error(
                f"Class {cls.__name__!r}: {each} must be True or False, not "
                f"{vars(cls)[each]!r}."
            )
    for each in ATTRIBUTES:
        if each in vars(cls):
            value = attributes[each] = vars(cls)[each]
            if not _is_plain(value):
                setattr(cls, each, LocalAttribute(value))
    return ClassStatement(attributes, vars(cls).get("app_name"))


def _check_attribute(cls: type, name: str) -> None:
    """
    Check that the attribute *name* of *cls* is not a misspelt option.

    An attribute may have any name, so that only data is checked, and only against long
    names that nobody comes close to by chance.
    """
    value = vars(cls)[name]
    if name in _LONG or name[0] == "_" or callable(value) or hasattr(value, "__get__"):
        return
    from difflib import get_close_matches

    for near in get_close_matches(name, _LONG, n=1, cutoff=0.9):
        raise declaration_error(
            f"Class {cls.__name__!r}: attribute {name!r} is no option. Did you mean "
            f"{near!r}? If not, call it something else."
        )


def merge(cls: type) -> DeclaredOptions:
    """Return the options of *cls*, each as the nearest base class declares it."""
    merged = DeclaredOptions()
    for base in reversed(cls.__mro__):
        space = vars(base)
        written = space.get("_written")
        if written is None:
            # A mixin that is no application may declare options too.
            written = {name: space[name] for name in ATTRIBUTES if name in space}
        merged.update(written)
    return DeclaredOptions((name, value) for name, value in merged.items() if value is not None)


def make_name(name: str) -> str:
    """Return the name of an application from that of its class, as in ``text-to-image``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or name.lower()


def _is_plain(value: Any, depth: int = 4) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if not depth:
        return False
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(each, depth - 1) for each in value)
    if type(value) is dict:
        return all(_is_plain(each, depth - 1) for pair in value.items() for each in pair)
    return False
