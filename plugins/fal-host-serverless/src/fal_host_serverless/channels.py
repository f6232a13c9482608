"""
Channels: connections to the service, kept for as long as the process lives.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fal_host_serverless import settings

if TYPE_CHECKING:
    import grpc

#: What may be tried again: it is asked once however often it is sent. What runs code
#: is not among it, since nobody can tell whether it ran.
_REPEATABLE = (
    *("ListApplications", "ListAliases", "ListAliasRunners", "ListRunners", "ListSecrets"),
    *("ListUserKeys", "ListEnvironments", "UpdateApplication", "SetAlias", "SetSecret"),
    "BuildEnvironment",
)
#: Says to a server of fal-core that urls are to be told once they are answered, and which
#: page its applications have.
ANNOUNCEMENT = ("fal-core-client", "1")
_SERVICE = "controller.IsolateController"

_lock = threading.Lock()
#: The channel to each service, and its RPCs.
_connections: dict[tuple[str, bool], tuple[Any, Any]] = {}


def options() -> list[tuple[str, Any]]:
    """
    Return the options of a channel: large messages, pings, and what is tried again.
    """
    from isolate_proto.configuration import GRPC_OPTIONS

    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": _SERVICE, "method": name} for name in _REPEATABLE]
    config = json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})
    return [*GRPC_OPTIONS, ("grpc.enable_retries", 1), ("grpc.service_config", config)]


def security() -> grpc.ChannelCredentials:
    """
    Return TLS; in test mode none, and then only this machine can be reached.
    """
    import grpc

    if settings.test_mode():
        return grpc.local_channel_credentials()
    return grpc.ssl_channel_credentials()


def stub(host: str) -> Any:
    """
    Return the RPCs of the service at *host*.

    What they stream is read by the thread that takes it, without one of gRPC between.
    """
    key = (host, settings.test_mode())
    with _lock:
        if key not in _connections:
            _connections[key] = _connect(host)
        return _connections[key][1]


def _connect(host: str) -> tuple[Any, Any]:
    import grpc
    from grpc.experimental import ChannelOptions
    from isolate_proto.controller_pb2_grpc import IsolateControllerStub

    kept = [*options(), (ChannelOptions.SingleThreadedUnaryStream, 1)]
    channel = grpc.secure_channel(host, security(), options=kept)
    return channel, IsolateControllerStub(channel)  # type: ignore[no-untyped-call]  # generated


@contextmanager
def streaming(stream: Any) -> Iterator[Any]:
    """
    Let go of *stream* at the end of the context, also where it was not read to its end.
    """
    try:
        yield stream
    except Exception:
        _let_go(stream)
        raise
    except BaseException:
        # What was interrupted may have taken what would be waited for.
        stream.cancel()
        raise
    _let_go(stream)


def _let_go(stream: Any) -> None:
    if not stream.done():
        stream.cancel()
    # gRPC keeps a call until its end was taken, which nobody takes of one that was
    # cancelled. There is no other way to, and elsewhere it takes care of that itself.
    take = getattr(stream, "_consume_next_event", None)
    state = getattr(stream, "_state", None)
    while take is not None and getattr(state, "due", None):
        take()


def close() -> None:
    """
    Close all channels.
    """
    with _lock:
        for channel, _ in _connections.values():
            channel.close()
        _connections.clear()


# A channel does not work in a forked child.
os.register_at_fork(after_in_child=_connections.clear)
