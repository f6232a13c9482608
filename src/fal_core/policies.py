"""Policies: how the core makes the calls of a function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import attrs

from fal_core.errors import OptionTypeError
from fal_core.options import Lifetime, OnUnsupported
from fal_core.reprs import show_fields
from fal_core.validators import at_least, more_than, seconds


def _exceptions(value: Any) -> Any:
    """Return the exceptions that *value* is or holds."""
    if isinstance(value, type):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) else value


def _are_exceptions(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple):
        raise OptionTypeError(attribute.name, repr(value), "exceptions")
    for each in value:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise OptionTypeError(attribute.name, repr(each), "exceptions, as classes")


@attrs.frozen(kw_only=True)
class Policy:
    """
    How the core makes calls of a function; hosts do not see it.

    Attributes:
        timeout: Seconds a call may take, waiting and retries included. The same holds
            for a spawned call and for a whole stream; for an item of a map they begin
            when the host runs it. None means no limit.

        retries: How often a call is made again after its host has failed.

        retry_on: Exceptions of the function after which a call is made again as well;
            detached work ignores them, as nobody opens what it raised.

        grace: Seconds that an interrupted call has to end of its own accord.

        seal: ``"every call"`` seals the function anew for each call, so that
            changes inside captured objects are seen.

        on_unsupported: What happens at the first call with options that its
            host cannot use.

        lifetime: ``"detached"`` lets spawned calls outlive this process, on
            hosts that can.
    """

    __repr__ = show_fields

    timeout: float | None = attrs.field(default=None, validator=seconds(more_than(0)))
    retries: int = attrs.field(default=0, validator=at_least(0))
    retry_on: tuple[type[Exception], ...] = attrs.field(
        default=(), converter=_exceptions, validator=_are_exceptions
    )
    grace: float = attrs.field(default=2.0, validator=seconds(at_least(0)))
    seal: Literal["once", "every call"] = "once"
    on_unsupported: OnUnsupported = "warn"
    lifetime: Lifetime = "attached"
