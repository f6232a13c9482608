"""Floods of gRPC by clients without a key, against a server in a process of its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import floods
import grpc
import pytest
from isolate_proto import ListSecretsRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE
from process_memory import peak_of
from programs import Server, to_metadata

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="The peak of memory is read from /proc."
)

#: Seconds for which a server is flooded, and how much more memory it may take.
SECONDS, LITTLE = 3.0, 200 << 20

#: The most lines of its log.
LINES = 30

#: How many calls run at once over the connection that was there before.
CALLS = 300

ALL = "+".join(floods.FLOODS)


def connect(server: Server, authority: str) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    port = server.ports["api"]
    if not authority:
        return grpc.insecure_channel(f"127.0.0.1:{port}", options)
    trusted = grpc.ssl_channel_credentials(Path(authority).read_bytes())
    return grpc.secure_channel(f"localhost:{port}", trusted, options)


def call(server: Server, channel: grpc.Channel, count: int) -> None:
    """Make so many calls with a key at once, all of which have to be answered."""
    ask, key = IsolateControllerStub(channel).ListSecrets, to_metadata(server.key)
    calls = [
        ask.future(ListSecretsRequest(), metadata=key, timeout=PATIENCE) for _ in range(count)
    ]
    for each in calls:
        each.result()


@pytest.mark.faults
@pytest.mark.parametrize("is_secret", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("names", [*floods.FLOODS, ALL], ids=[*floods.FLOODS, "all"])
def test_calls_are_answered_under_a_flood(
    make_standing: Any, tmp_path: Path, names: str, is_secret: bool
):
    """
    While strangers flood a server, each call with a key is answered, over a connection that was
    there before and over new ones; memory and log stay bounded, and the server ends in order.
    """
    server = make_standing(tmp_path).plane
    authority = str(server.data / "tls" / "ca.pem") if is_secret else ""
    with connect(server, authority) as lasting:
        call(server, lasting, CALLS)
        before = peak_of(server.program.process.pid)
        floodings = [
            floods.start_flood(name, server.ports["api"], SECONDS, authority)
            for name in names.split("+")
        ]
        while any(flooding.poll() is None for flooding in floodings):
            call(server, lasting, CALLS)
            with connect(server, authority) as new:
                call(server, new, 1)
    sent = [int(flooding.communicate()[0]) for flooding in floodings]
    assert all(sent)
    assert peak_of(server.program.process.pid) - before < LITTLE
    assert server.program.end(signal.SIGTERM) == 0
    assert server.program.errors.read_text().count("\n") < LINES
