"""What a replica passes on of a gRPC call."""

from __future__ import annotations

from fal_server.listeners.grpc_calls import SERVER_HOST
from fal_server.listeners.http_connections import RELAY
from fal_server.replicas.grpc_relays import pick_metadata


def test_metadata_of_the_caller_is_passed_on():
    """All of it, but what belongs to the connection and what only replicas say of themselves."""
    own = [("auth-key", "secret"), ("team", "blue"), ("agent-bin", b"\0")]
    others = [("te", "trailers"), ("user-agent", "x"), ("grpc-timeout", "1S")]
    claimed = [(RELAY.lower(), "a guess"), (SERVER_HOST, "evil.example")]
    assert pick_metadata([*others, *claimed, *own]) == own
