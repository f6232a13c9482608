"""Operations: gRPC methods with one response, which every client can perform."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

from fal_host_serverless.errors import WrongArgument
from fal_host_serverless.wire import channels
from fal_host_serverless.wire.failures import translated
from fal_host_serverless.wire.services import Service

ValueT = TypeVar("ValueT")


@attrs.frozen
class Operation(Generic[ValueT]):
    """
    A gRPC method and its request.

    Attributes:
        method: The name of the method.

        request: The message that is sent.

        read: Makes the value that the caller gets of the response.
    """

    method: str
    request: Any
    read: Callable[[Any], ValueT]


def perform(service: Service, operation: Operation[ValueT]) -> ValueT:
    """
    Perform *operation* and return its value.

    Raises:
        FalServerlessError: The service answered with an error.
    """
    send = getattr(channels.stub(service.address), operation.method)
    metadata = service.credentials.metadata()
    with translated(service.address):
        return operation.read(send(operation.request, metadata=metadata))


def read_nothing(response: Any) -> None:
    """Return None, the value of an operation whose response has nothing in it."""
    return None


def fill(message: Any, **fields: Any) -> Any:
    """Set those *fields* of *message* that are not None, and return it."""
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            # Without a time zone it is local time.
            aware = value if value.tzinfo else value.astimezone()
            getattr(message, name).FromDatetime(aware)
        elif isinstance(value, list | tuple):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


def check_names(argument: str, written: Any, example: str) -> None:
    """
    Check that *written* is a list of names.

    Raises:
        WrongArgument: It is not.
    """
    if not isinstance(written, list | tuple) or not all(
        isinstance(each, str) and each for each in written
    ):
        raise WrongArgument(
            f"Argument {argument!r} must be a list of names, as in [{example!r}], not "
            f"{written!r}."
        )


def check_time(since: Any) -> None:
    """
    Check that *since* is a datetime or None.

    Raises:
        WrongArgument: It is not.
    """
    if not isinstance(since, datetime | None):
        raise WrongArgument(f"Argument 'since' must be a datetime, not {since!r}.")
