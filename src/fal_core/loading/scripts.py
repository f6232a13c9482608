"""Scripts: functions of a file that says itself what it requires."""

from __future__ import annotations

from typing import Any

from fal_core.declaring.requirement_files import SCRIPT, file_of, inline_metadata
from fal_core.declaring.vocabulary import DEFAULT_KIND, kind_of
from fal_core.functions import IsolatedFunction

#: Options of which one says what the environment has in it.
_SAYS = ("requirements", "project")


def with_own_block(function: IsolatedFunction[..., Any]) -> IsolatedFunction[..., Any]:
    """
    Return *function* with what the block ``# /// script`` of its file requires, where it
    declares no requirements itself.
    """
    environment, func = function.options.environment, function.raw_func
    if func is None or kind_of(environment) != DEFAULT_KIND:
        return function
    if any(environment.get(name) for name in _SAYS):
        return function
    path = file_of(func)
    if path is None or inline_metadata(path) is None:
        return function
    return function.on(requirements=SCRIPT)
