"""
Channels: connections to the service, kept for as long as the process lives.
"""

from __future__ import annotations

import json
import os
import threading
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
_SERVICE = "controller.IsolateController"

_lock = threading.Lock()
_channels: dict[tuple[str, bool], Any] = {}


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
    """
    import grpc
    from isolate_proto.controller_pb2_grpc import IsolateControllerStub

    key = (host, settings.test_mode())
    with _lock:
        if key not in _channels:
            _channels[key] = grpc.secure_channel(host, security(), options=options())
        channel = _channels[key]
        return IsolateControllerStub(channel)  # type: ignore[no-untyped-call]  # generated


def close() -> None:
    """
    Close all channels.
    """
    with _lock:
        for channel in _channels.values():
            channel.close()
        _channels.clear()


# A channel does not work in a forked child.
os.register_at_fork(after_in_child=_channels.clear)
