"""The route of an endpoint, which its handler carries to where it is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class RouteSignature(NamedTuple):
    """
    The path of an endpoint, what it takes and what it returns.

    Attributes:
        path: The path, as in ``/predict``.

        is_websocket: Whether the handler takes the WebSocket connection itself.

        health_check: How the health of the service is checked, on the one route that
            answers health checks.

        input_modal: The type of the request body.

        output_modal: The type of the response body.

        realtime_mode: How a realtime handler takes its messages.

        content_type: The content type of the response, if it is fixed.

        buffering: How many realtime messages may wait.

        session_timeout: Seconds after which a realtime session ends.

        max_batch_size: How many items the handler may be given at once.

        emit_timings: Whether realtime responses carry their timings.

        encode_message: Encodes a realtime response. None for msgpack.

        decode_message: Decodes a realtime message. None for msgpack.
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
