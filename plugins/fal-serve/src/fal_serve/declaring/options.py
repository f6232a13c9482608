"""
Declared options: what the classes of an application say about where it runs.

They matter where the application is launched, and do not travel with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fal_serve.declaring.errors import declaration_error

#: Options that are attributes of an application's class.
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

#: Attributes of the function that is made of the class.
_OF_FUNCTION = ("app_name", "app_auth", "local_python_modules")

#: Those whose names are no everyday words, such as ``image``.
_LONG = tuple(each for each in (*ATTRIBUTES, *_OF_FUNCTION) if "_" in each or len(each) > 8)

_PLAIN = (str, bytes, int, float, bool, type(None))


class Declared(dict[str, Any]):
    """
    Options by name. It travels empty.
    """

    def __reduce__(self) -> Any:
        return Declared, ()


class Here:
    """
    An attribute that is not what a plain value is, and travels as None.
    """

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self.value

    def __reduce__(self) -> Any:
        return Here, ()


class Written(NamedTuple):
    """
    What the statement of one class says.

    Attributes:
        attributes: Options by name; None where the class takes one back.

        name: Of the application, where it says so.
    """

    attributes: Declared
    name: str | None


@dataclass(frozen=True, kw_only=True)
class ApplicationDeclaration:
    """
    What an application's class declares about how it is launched.

    Attributes:
        served: The class itself. Nobody calls it with arguments.

        options: Options as ``fal_core.function`` takes them.
    """

    served: Any
    options: Mapping[str, Any]
    app_name: str | None
    app_auth: Literal["public", "private", "shared"] | None
    local_python_modules: Sequence[str]


def read_class(cls: type, keywords: dict[str, Any]) -> Written:
    """
    Return what the statement of *cls* says, its class keywords among it.

    Keywords that are attributes of every application become attributes of *cls*.

    Raises:
        ValueError: Something is said twice, or is nearly an option.
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
    attributes = Declared(extra)
    for keyword, value in keywords.items():
        if keyword in space:
            raise declaration_error(
                f"Class {cls.__name__!r}: {keyword!r} is written as a keyword of the class "
                "and as its attribute. Write one."
            )
        if keyword in ATTRIBUTES or keyword in _OF_FUNCTION:
            setattr(cls, keyword, value)
        else:
            attributes[keyword] = value
    for each in ATTRIBUTES:
        if each in vars(cls):
            value = attributes[each] = vars(cls)[each]
            if not _is_plain(value):
                setattr(cls, each, Here(value))
    return Written(attributes, vars(cls).get("app_name"))


def _check_attribute(cls: type, name: str) -> None:
    """
    Check that *name*, which *cls* says, is not an option that is misspelt.

    An attribute may be anything: it has to be very near to a name that nobody hits
    by chance, and hold data.
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


def merge(cls: type) -> Declared:
    """
    Return the options of *cls*: each as the nearest class of its bases says.
    """
    merged = Declared()
    for base in reversed(cls.__mro__):
        space = vars(base)
        written = space.get("_written")
        if written is None:
            # A base that is no application may say something too.
            written = {name: space[name] for name in ATTRIBUTES if name in space}
        merged.update(written)
    return Declared((name, value) for name, value in merged.items() if value is not None)


def make_name(name: str) -> str:
    """
    Return the name of an application whose class has *name*, as in ``text-to-image``.
    """
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
