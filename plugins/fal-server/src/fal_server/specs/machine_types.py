"""Machine types that requests name, and whether this server knows them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from fal_core import calling
from fal_core.environments import Environment
from fal_core.errors import FalCoreError
from fal_core.machines import refuse_machine
from fal_core.options import HostOptions
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


def count_gpus(message: Any) -> int | None:
    """
    Return how many GPUs *message* asks for; None for as many as its machine type has.

    Raises:
        Invalid: They are fewer than none.
    """
    if not message.HasField("num_gpus"):
        return None
    if message.num_gpus < 0:
        raise Invalid(f"num_gpus must not be negative, and is {message.num_gpus}.")
    return int(message.num_gpus)


def for_machine(environment: Environment, message: Any) -> Environment:
    """
    Return *environment* as it is built for the first machine type that *message* names, and
    its GPUs. It stays as it is where there is none that a plugin knows.

    Raises:
        Invalid: The GPUs are fewer than none.
    """
    names, gpus = named_types(message), count_gpus(message)
    return calling.for_machine(
        environment, HostOptions(machine_types=names or None, num_gpus=gpus)
    )


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
