"""Settings of a server, made from the options of what it serves."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from fal_core_worker.serving.services import StartupError

#: The default ports of a service.
PORT = 8080
METRICS_PORT = 9090
#: Set to 0, where a service is launched or where it runs, it disables the playground.
PLAYGROUND_VARIABLE = "FAL_SERVE_PLAYGROUND"
#: Set to 0 in the same places, it leaves pages of other origins to what the application says.
CORS_VARIABLE = "FAL_SERVE_CORS"
#: The variables of limits, in bytes, with the names of their settings. One that is set
#: where a service runs has priority over one that is set where it is launched.
LIMIT_VARIABLES = {
    "FAL_SERVE_MAX_BODY_SIZE": "max_body_size",
    "FAL_SERVE_MAX_MESSAGE_SIZE": "max_message_size",
}


class WrongLimit(StartupError, ValueError):
    """A variable for a limit is not a number of bytes."""


@dataclass(frozen=True)
class ServiceSettings:
    """
    The settings of a server. Times are in seconds.

    Attributes:
        request_timeout: How long a request may take before it is answered with 504.

        startup_timeout: How long ``setup`` may take.

        termination_grace: How long running requests may take to finish once the service
            drains. None waits for all.

        max_multiplexing: How many requests are worked on at once; others wait.

        max_body_size: The most bytes of a request body; more is answered with 413.

        max_message_size: The most bytes of a websocket message; more closes the connection
            with 1009.

        head_timeout: How long the head of a request may take to arrive.

        metrics_port: The port of metrics and probes, unless the host gives one.

        host: The address to listen on. None leaves it to the host that runs the service,
            and is the loopback address without one.

        access_log: Whether each request is logged.

        playground: Whether the playground is served.

        cors: Whether pages of all origins may send requests from a browser.

        blocked_after: How long the event loop may be blocked before the log names the
            culprit.

        dead_after: How long it may be blocked before the service counts as dead.
    """

    request_timeout: float | None = None
    startup_timeout: float | None = None
    termination_grace: float | None = None
    max_multiplexing: int | None = None
    max_body_size: int = 1 << 30
    max_message_size: int = 16 << 20
    head_timeout: float = 60.0
    metrics_port: int | None = None
    host: str | None = None
    access_log: bool = True
    playground: bool = True
    cors: bool = True
    blocked_after: float = 1.0
    dead_after: float = 60.0


def wants_playground() -> bool:
    """Tell whether the variables of this process leave the playground enabled."""
    return _is_on(PLAYGROUND_VARIABLE)


def wants_cors() -> bool:
    """Tell whether the variables of this process let pages of all origins send requests."""
    return _is_on(CORS_VARIABLE)


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("0", "false", "no", "off")


def apply_limit_variables(settings: ServiceSettings) -> ServiceSettings:
    """
    Return *settings* with the limits that the variables of this process set.

    Raises:
        WrongLimit: A variable is not a number of bytes.
    """
    found: dict[str, Any] = {}
    for variable, name in LIMIT_VARIABLES.items():
        text = os.environ.get(variable, "")
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and int(text)):
            raise WrongLimit(
                f"The variable {variable} is {text!r}, and has to be a number of bytes, "
                f"as in {variable}={100 << 20}."
            )
        found[name] = int(text)
    return replace(settings, **found)
