"""Ways to call a function that it does not have."""

from __future__ import annotations

import inspect
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Protocol

from fal_core.errors import OptionError
from fal_core_worker.annotations import signature_of

if TYPE_CHECKING:
    from fal_core.declaring.declaration import Declaration, Flavour

#: The modules whose frames lie between a call and this one.
_CALLING = (
    __name__,
    "fal_core.functions",
    "fal_core.calling.methods",
    "fal_core.tracebacks.trimming",
)


class Function(Protocol):
    """An isolated function, as far as a call of it is refused."""

    @property
    def declaration(self) -> Declaration: ...

    @property
    def flavour(self) -> Flavour: ...


def refuse_coroutine(function: Function) -> None:
    """
    Refuse a call that is made in the own frame of a coroutine, and would block its loop.

    Plain functions that run inside of a loop may call, and so may cells of notebooks,
    which have no other way.

    Raises:
        OptionError: It is made there.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") in _CALLING:
        frame = frame.f_back
    flags = 0 if frame is None else frame.f_code.co_flags
    of_function = flags & inspect.CO_NEWLOCALS
    if of_function and flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        name = getattr(function.declaration.raw_func, "__name__", "function")
        raise OptionError(
            f"{function!r} was called inside of a coroutine, whose event loop it would block. "
            f"Write 'await {name}.aio(…)'."
        )


def refuse_service(function: Function, way: str) -> None:
    """
    Refuse *way* of calling a function that is served.

    Raises:
        OptionError: Always.
    """
    from fal_core.calling.serving import refuse_call

    refuse_call(function.declaration.name, way)


def refuse_way(function: Function, way: str, names: Container[str]) -> None:
    """
    Refuse *way* of calling a function that is served, or yields, and an idempotency key among
    the *names* of its arguments.

    Raises:
        OptionError: It is or does, or there is one that is no argument of the function.
    """
    if function.declaration.options.gateway.get("serve"):
        refuse_service(function, repr(way))
    if function.flavour.endswith("generator"):
        raise OptionError(
            f"{function!r} is a generator function and cannot be used with {way!r}. "
            "Use 'stream' to take what it yields."
        )
    if "key" in names:
        _refuse_idempotency_key(function)


def refuse_plain(function: Function) -> None:
    """
    Refuse to stream what a function yields that yields nothing.

    Raises:
        OptionError: Always.
    """
    raise OptionError(
        f"{function!r} yields nothing to stream: it is no generator function. "
        "Call it, or make it yield."
    )


def refuse_items(iterables: tuple[Any, ...]) -> None:
    """
    Refuse to map over what is not iterable.

    Raises:
        TypeError: One is not.
    """
    for each in iterables:
        if not (hasattr(each, "__iter__") or hasattr(each, "__getitem__")):
            shown = type(each).__name__
            raise TypeError(
                f"A map takes iterables of arguments, and an object of {shown!r} is none. "
                "Write map([…])."
            ) from None


def _refuse_idempotency_key(function: Function) -> None:
    """
    Refuse ``key=`` where it is no argument of the function.

    Raises:
        OptionError: It is none.
    """
    called: Any = function
    try:
        parameters = signature_of(called).parameters
    except ValueError:
        return
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    if "key" not in parameters and not takes_any:
        host = function.declaration.host.name
        raise OptionError(
            f"{function!r} has no parameter 'key', and calls on host {host!r} take no "
            "idempotency keys: only requests to the queue of an application do."
        )
