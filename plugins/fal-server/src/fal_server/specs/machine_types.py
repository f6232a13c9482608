"""
Machine types that requests name, and whether this server knows them.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from fal_core.errors import FalCoreError
from fal_core.machines import refuse_machine
from fal_server.errors import Invalid

#: How many machine types one request may name. Each is asked for in turn.
_MOST = 100


def named_types(message: Any) -> tuple[str, ...]:
    """
    Return the machine types that *message* names, the preferred one first and each once.
    Clients that can name several name the first of them in the older field as well.
    """
    written = message.machine_types or [getattr(message, "machine_type", "")]
    return tuple(dict.fromkeys(filter(None, written)))


def check_machine_types(message: Any, also: Container[str]) -> None:
    """
    Refuse a request whose *message* names a machine type that nobody knows.

    Nothing is refused where no plugin lists machine types.

    Arguments:
        also: Further machine types that are known, such as those with a limit of this
            server.

    Raises:
        Invalid: One is unknown, or there are too many, or what declares machine types on
            this server is wrong.
    """
    names = dict.fromkeys((*named_types(message), getattr(message, "machine_type", "")))
    if len(names) > _MOST:
        raise Invalid(f"A request may name {_MOST} machine types, and this names more.")
    for name in filter(None, names):
        if name in also:
            continue
        try:
            unknown = refuse_machine(name)
        except FalCoreError as error:
            raise Invalid(str(error)) from error
        if unknown is not None:
            raise Invalid(str(unknown))
