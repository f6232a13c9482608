"""
Settings: what the options of a function say to the server that serves it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from fal_core_worker.serving.services import StartupError

#: The ports of a service in a network of its own.
PORT = 8080
METRICS_PORT = 9090
#: Set it to 0, where a service is launched or where it runs, to serve no playground.
PLAYGROUND_VARIABLE = "FAL_SERVE_PLAYGROUND"
#: The variables of limits, in bytes, with the settings that they are. One that is set
#: where a service runs goes before one that is set where it is launched.
LIMIT_VARIABLES = {
    "FAL_SERVE_MAX_BODY_SIZE": "max_body_size",
    "FAL_SERVE_MAX_MESSAGE_SIZE": "max_message_size",
}


class WrongLimit(StartupError, ValueError):
    """
    A variable that is to be a number of bytes is none.
    """


@dataclass(frozen=True)
class Settings:
    """
    What a server is told beside what it serves. Times are in seconds.

    Attributes:
        request_timeout: How long one request may take until it is answered with 504.

        startup_timeout: How long ``setup`` may take.

        termination_grace: How long running requests may take to finish once the
            service drains. None waits for all.

        max_multiplexing: How many requests are worked on at once; others wait.

        max_body_size: How many bytes a request may have; more is answered with 413.

        max_message_size: How many bytes a message of a websocket may have; one with more
            closes it with 1009.

        head_timeout: How long the head of a request may take to come.

        metrics_port: Where metrics and probes are, if the host does not say.

        host: The address to listen on.

        access_log: Whether each request is told in the log.

        playground: Whether there is a page to try the service on.

        blocked_after: How long the event loop may be blocked until the log says by
            what.

        dead_after: How long it may be blocked until the service counts as dead.
    """

    request_timeout: float | None = None
    startup_timeout: float | None = None
    termination_grace: float | None = None
    max_multiplexing: int | None = None
    max_body_size: int = 1 << 30
    max_message_size: int = 16 << 20
    head_timeout: float = 60.0
    metrics_port: int | None = None
    host: str = "127.0.0.1"
    access_log: bool = True
    playground: bool = True
    blocked_after: float = 1.0
    dead_after: float = 60.0


def wants_playground() -> bool:
    """
    Tell whether this process asks for the playground, which is so unless it says no.
    """
    return os.environ.get(PLAYGROUND_VARIABLE, "").lower() not in ("0", "false", "no", "off")


def with_own_limits(settings: Settings) -> Settings:
    """
    Return *settings* with the limits that the variables of this process set.

    Raises:
        WrongLimit: One is no number of bytes.
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
