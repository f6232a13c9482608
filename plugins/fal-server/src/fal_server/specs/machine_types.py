"""
Machine types that requests name: whether this server knows them.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from fal_core.errors import FalCoreError
from fal_core.machines import refuse_machine
from fal_server.errors import Invalid


def check_machine_types(message: Any, also: Container[str]) -> None:
    """
    Refuse a request whose *message* names a machine type that nobody knows.

    Nothing is refused where no plugin lists machine types.

    Arguments:
        also: Further machine types that are known, such as those with a limit of this
            server.

    Raises:
        Invalid: One is unknown, or what declares machine types on this server is wrong.
    """
    first = getattr(message, "machine_type", "")
    for name in dict.fromkeys((*message.machine_types, first)):
        if not name or name in also:
            continue
        try:
            unknown = refuse_machine(name)
        except FalCoreError as error:
            raise Invalid(str(error)) from error
        if unknown is not None:
            raise Invalid(str(unknown))
