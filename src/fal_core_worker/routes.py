"""
The route of an endpoint, which handlers carry to where they are served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class RouteSignature(NamedTuple):
    """
    What an endpoint takes and gives, and how it is reached.

    Attributes:
        path: Of the endpoint, as in ``/predict``.

        is_websocket: Whether the handler is given the connection itself.

        health_check: How the service's health is asked for, on the one route
            that answers it.

        input_modal: The type of the request's body.

        output_modal: The type of the answer's body.

        realtime_mode: How a realtime handler takes its messages.

        content_type: Of the answer, where it is fixed.

        buffering: How many realtime messages may wait.

        session_timeout: Seconds after which a realtime session ends.

        max_batch_size: How many items the handler may be given at once.

        emit_timings: Whether realtime answers carry their timings.

        encode_message: Makes bytes of an answer; msgpack where None.

        decode_message: Makes a message of bytes; msgpack where None.
    """

    path: str
    is_websocket: bool = False
    health_check: Any | None = None
    input_modal: type | None = None
    output_modal: type | None = None
    realtime_mode: str | None = None
    content_type: str | None = None
    buffering: int | None = None
    session_timeout: float | None = None
    max_batch_size: int = 1
    emit_timings: bool = False
    encode_message: Callable[[Any], bytes] | None = None
    decode_message: Callable[[bytes], Any] | None = None
