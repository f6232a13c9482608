"""Kinds of environments that requests ask for: whether this server runs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from fal_server.errors import Invalid

#: The kind of an environment whose client names none.
USUAL_KIND = "virtualenv"


def check_kinds(definitions: Iterable[Any], kinds: Collection[str]) -> None:
    """
    Refuse a request for an environment of a kind that this server does not run.

    Arguments:
        definitions: The environments that are asked for.

        kinds: Those that it runs. Empty for all that are installed.

    Raises:
        Invalid: One is of another kind.
    """
    for definition in definitions:
        check_kind(definition.kind or USUAL_KIND, kinds)


def check_kind(kind: str, kinds: Collection[str]) -> None:
    """
    Refuse *kind* if it is none of *kinds*, which are all if there are none.

    Raises:
        Invalid: It is.
    """
    if kinds and kind not in kinds:
        known = " and ".join(sorted(kinds))
        raise Invalid(
            f"This server runs environments of kind {known}, and none of kind {kind[:80]!r}."
        )
