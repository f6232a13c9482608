"""gRPC channels to services, kept for as long as the process lives."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

from fal_host_serverless.wire import settings

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import grpc

#: Methods that gRPC may retry: sending one twice has the effect of sending it once.
#: Methods that run code are left out, since nobody can tell whether it ran.
_REPEATABLE = (
    *("ListApplications", "ListAliases", "ListAliasRunners", "ListRunners", "ListSecrets"),
    *("ListUserKeys", "ListEnvironments", "UpdateApplication", "SetAlias", "SetSecret"),
    "BuildEnvironment",
)
_SERVICE = "controller.IsolateController"

_lock = threading.Lock()
#: The channel and the stub of each address, with and without TLS.
_connections: dict[tuple[str, bool], tuple[Any, Any]] = {}


def options() -> list[tuple[str, Any]]:
    """Return the options of a channel: message sizes, keepalive pings and retries."""
    from fal_host_serverless.wire.protocol import GRPC_OPTIONS

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
    """Return TLS credentials; in test mode local ones, which reach this machine alone."""
    from fal_host_serverless.wire.protocol import grpc

    if settings.test_mode():
        return grpc.local_channel_credentials()
    return grpc.ssl_channel_credentials()


def stub(address: str) -> Any:
    """
    Return the stub of the service at *address*.

    The thread that iterates over a stream reads it itself, without a thread of gRPC.
    """
    key = (address, settings.test_mode())
    with _lock:
        if key not in _connections:
            _connections[key] = _connect(address)
        return _connections[key][1]


def _connect(address: str) -> tuple[Any, Any]:
    from fal_host_serverless.wire.protocol import IsolateControllerStub, grpc

    channel = grpc.secure_channel(address, security(), options=options())
    return channel, IsolateControllerStub(channel)  # type: ignore[no-untyped-call]  # generated


def close() -> None:
    """Close all channels."""
    with _lock:
        for channel, _ in _connections.values():
            channel.close()
        _connections.clear()


# A channel does not work in a forked child.
os.register_at_fork(after_in_child=_connections.clear)
