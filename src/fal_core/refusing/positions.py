"""Positions: options that were given without their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fal_core.errors import OptionError
from fal_core.hosts import Host
from fal_core.plugins.installed import load_plugins

#: What a list most likely is, and a text, by the kind of environment.
_LISTS = {"virtualenv": "requirements", "conda": "packages"}
_TEXTS = {"container": "image"}


def refuse_positions(kind: str, values: Sequence[Any]) -> None:
    """
    Refuse options that were given by position.

    Raises:
        OptionError: Always; it shows how they are written.
    """
    written = [f"{_name_of(value, kind)}={_shown(value)}" for value in values]
    raise OptionError(f"Options are keywords: {', '.join(written)}.")


def _name_of(value: Any, kind: str) -> str:
    if isinstance(value, Host) or (isinstance(value, str) and value in load_plugins().hosts):
        return "host"
    if isinstance(value, str):
        return _TEXTS.get(kind) or _LISTS.get(kind, "NAME")
    if isinstance(value, Mapping):
        return "NAME"
    return _LISTS.get(kind, "NAME") if isinstance(value, list | tuple | set) else "NAME"


def _shown(value: Any) -> str:
    text = repr(value)
    # As people write them.
    quoted = text.replace("'", '"')
    text = quoted if '"' not in text and "\\" not in text else text
    return text if len(text) <= 60 else f"{text[:57]}..."
