"""
Fields of kinds of environments: how what users write becomes values, and is shown.

Every program that declares a function of whatever kind imports this module, so what only
requirements need is imported by the functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from fal_core.errors import OptionError

Layers = tuple[tuple[str, ...], ...]


def to_layers(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    """
    Return requirements, or layers of them, with absolute paths.

    Raises:
        OptionError: One of them is none.
    """
    if requirements == ():
        return ()
    from fal_uv.requirements.entries import parse_layers

    return parse_layers(requirements)


def to_texts(
    texts: Iterable[str], *, show: Callable[[object], str] | None = None
) -> tuple[str, ...]:
    """
    Return a list of texts as a tuple.

    Arguments:
        show: Shows one in an error. By default :func:`masked_repr`.

    Raises:
        OptionError: It is a text itself, or has something else in it.
    """
    if isinstance(texts, str):
        shown = (show or masked_repr)(texts)
        raise OptionError(f"A list of str is needed, not the str {shown}.")
    found = tuple(texts)
    for text in found:
        if not isinstance(text, str):
            raise OptionError(f"A list of str is needed, and it has {text!r}.")
    return found


def to_absolute_path(path: str | os.PathLike[str] | None) -> str | None:
    """
    Return *path* as it is found from any directory; None stays None.
    """
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def masked_repr(value: object) -> str:
    """
    Show *value* with asterisks in place of the credentials in its URLs.
    """
    from fal_uv.requirements.url_credentials import mask

    return mask(repr(value))
