"""
Isolated functions that other isolated functions call.

Captured by another function, an isolated function is sealed as a stub of the
standard library alone. Where both have the same place it carries its code and
runs there; otherwise its calls come home, to this process.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fal_core.events import Reply, Sealed
from fal_core_worker.opening import values
from fal_core_worker.opening.stubs import make_stub

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher
    from fal_core.events import HomeCall
    from fal_core.functions import IsolatedFunction

#: Seconds that ``launch`` may take to return after the first event.
_PATIENCE = 30.0

#: Seconds between two looks at who waits for a service.
_TICK = 0.1

_numbers = itertools.count(1)
_functions: weakref.WeakValueDictionary[int, IsolatedFunction[..., Any]] = (
    weakref.WeakValueDictionary()
)


def number_of(function: IsolatedFunction[..., Any]) -> int:
    """
    Return the number by which a worker calls *function* home.
    """
    number: int | None = function.__dict__.get("_home_number")
    if number is None:
        number = function.__dict__["_home_number"] = next(_numbers)
    _functions[number] = function
    return number


#: How isolated functions are reduced where another function refers to them.
stub_types: dict[type, Callable[[Any], tuple[Any, ...]]] = {}

_sealing = threading.local()


@contextmanager
def sealing(outer: IsolatedFunction[..., Any]) -> Iterator[None]:
    """
    Say which function is being sealed, while its captures are reduced.
    """
    before = getattr(_sealing, "outer", None)
    _sealing.outer = outer
    try:
        yield
    finally:
        _sealing.outer = before


def reduce_function(
    inner: IsolatedFunction[..., Any],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """
    Reduce *inner*, which the function being sealed has captured, to a stub.
    """
    outer: IsolatedFunction[..., Any] | None = getattr(_sealing, "outer", None)
    # What is reached from outside has a worker of its own, wherever it is called.
    in_place = outer is not None and not is_service(inner) and _place(inner) == _place(outer)
    state = {"function": inner.raw_func if in_place else None}
    name = getattr(inner.raw_func, "__name__", "function")
    return make_stub, (number_of(inner), name), state


def answer(launcher: Launcher, event: HomeCall, sink: Any) -> None:
    """
    Make the call that *event* asks for, and send its outcome to the worker.
    """
    from fal_core.sealing.arguments import seal_arguments

    seal = launcher.seal
    raised = False
    try:
        number, args, kwargs = launcher.opener.open_value(event.sealed)
        function = _functions.get(number)
        if function is None:
            raise LookupError("The isolated function that was called at home is gone.")
        if is_service(function):
            result = _serve(function, args, kwargs, sink)
        else:
            result = function(*args, **kwargs)
        if function.flavour.endswith("generator"):
            result = list(result)
        sealed = seal_arguments(result, seal)
    except BaseException as error:
        raised = True
        sealed = Sealed(*values.seal_error(error, None))
    reply = Reply(event.number, sealed, raised)
    # The thread that launches the call may not have got the execution yet.
    until = time.monotonic() + _PATIENCE
    while sink.execution is None and time.monotonic() < until:
        time.sleep(0.001)
    if sink.execution is not None:
        sink.execution.send(reply)


def is_service(function: IsolatedFunction[..., Any]) -> bool:
    """
    Tell whether *function* is reached from outside.
    """
    gateway = function.options.gateway
    return bool(gateway.get("serve")) or gateway.get("exposed_port") is not None


def _serve(function: IsolatedFunction[..., Any], args: Any, kwargs: Any, sink: Any) -> Any:
    """
    Run a service until it ends, or the call ends that asked for it.
    """
    launcher = function.make_launcher()
    waiter = launcher.waiter()
    execution = launcher.launch(launcher.call((args, kwargs)), waiter)
    waiter.follow(execution)
    while not waiter.drive(execution, _TICK):
        if sink.ended:
            execution.cancel(function.policy.grace)
            waiter.drive(execution, function.policy.grace + _TICK)
    return waiter.result()


def _place(function: IsolatedFunction[..., Any]) -> tuple[Any, ...]:
    options = function.options
    machine = {
        key: options.host.get(key) for key in ("machine_type", "machine_types", "num_gpus")
    }
    return id(function.host.place), options.environment, machine
