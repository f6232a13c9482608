"""Home calls: a function in a worker calls an isolated function of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.events import HomeCall, Reply, Sealed
from fal_core.hosts import Host
from fal_core.sealing.arguments import seal_arguments
from fal_core.sealing.stubs import find_function
from fal_core.sinks.call_sinks import OpeningSink
from fal_core.sinks.requests import send
from fal_core_worker.current import AT_HOME
from fal_core_worker.opening.values import seal_error

#: Seconds that ``launch`` may take to return after the first event.
_PATIENCE = 30.0


@attrs.frozen(kw_only=True)
class Asker:
    """
    The call that asks for one at home.

    Attributes:
        host: Where it runs.

        is_over: Tells whether it has ended.
    """

    host: Host[..., Any]
    is_over: Callable[[], bool]


def answer_home_call(
    call: HomeCall, sink: OpeningSink, seal: Any, host: Host[..., Any]
) -> None:
    """
    Make the call that *call* asks for on a new thread, and send back how it ends.

    Arguments:
        sink: The sink of the call that asks.

        seal: The seal of the function that asks.

        host: Where that function runs.
    """
    asker = Asker(host=host, is_over=lambda: sink.ended)
    threading.Thread(
        target=_answer, args=(call, sink, seal, asker), name="fal-core home call", daemon=True
    ).start()


def _answer(call: HomeCall, sink: OpeningSink, seal: Any, asker: Asker) -> None:
    raised = False
    try:
        number, args, kwargs = sink.opener.open_value(call.sealed)
        sealed = seal_arguments(_call(number, args, kwargs, asker), seal)
    except BaseException as error:
        raised = True
        sealed = Sealed(*seal_error(error, None))
    reply = Reply(call.number, sealed, raised)
    # The thread that launches the call that asks may not have its execution yet.
    until = time.monotonic() + _PATIENCE
    while sink.execution is None and not sink.ended and time.monotonic() < until:
        time.sleep(0.001)
    send(sink, reply)


def _call(number: int, args: tuple[Any, ...], kwargs: dict[str, Any], asker: Asker) -> Any:
    """Call the function of *number*. A service is ended once *asker* is over."""
    if number == AT_HOME:
        return args[0](asker, *args[1:], **kwargs)
    function = find_function(number)
    if function is None:
        raise LookupError("The isolated function that was called at home is gone.")
    declared = function.declaration
    if declared.is_service:
        result = function.make_launcher().run_until((args, kwargs), asker.is_over)
    else:
        result = function(*args, **kwargs)
    return list(result) if declared.is_generator else result
