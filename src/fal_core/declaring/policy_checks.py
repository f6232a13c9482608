"""Policies, checked as options are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from fal_core.conversion.structuring import structure
from fal_core.declaring.known_options import nearest_name
from fal_core.errors import OptionError, UnknownOptionError
from fal_core.options import OnUnsupported
from fal_core.policies import Policy

_TYPES = {
    "timeout": float | None,
    "retries": int,
    "grace": float,
    "seal": Literal["once", "every call"],
    "on_unsupported": OnUnsupported,
    "lifetime": Literal["attached", "detached"],
}


def check_policy(values: Mapping[str, Any]) -> Policy:
    """
    Return the policy of *values*.

    Raises:
        OptionError: A name is unknown, or a value is wrong.
    """
    known = attrs.fields_dict(Policy)
    for name in values:
        if name not in known:
            raise UnknownOptionError(name, nearest_name(name, (known,)))
    checked = {
        name: structure(value, _TYPES[name], name) if name in _TYPES else value
        for name, value in values.items()
    }
    return Policy(**checked)


def hint_at_policy(error: UnknownOptionError) -> OptionError:
    """
    Return the error to raise for an unknown option of ``on``.

    It is *error*, unless the name is nearest to a part of the policy: then the error
    names ``with_policy``.
    """
    names = {*attrs.fields_dict(Policy), *filter(None, [error.suggestion])}
    near = nearest_name(error.option, (names,))
    if near is None or near == error.suggestion:
        return error
    return OptionError(
        f"Option {error.option!r} is not one that on() takes. Did you mean "
        f"with_policy({near}=…), which gives the function with another policy?"
    )
