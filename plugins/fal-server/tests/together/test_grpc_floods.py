"""
Floods of gRPC by clients without a key, against a server in a process of its own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
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

ALL = "+".join(floods.FLOODS)


def call_again_and_again(server: Server, authority: str, while_: Callable[[], bool]) -> int:
    """
    Make calls with a key, over a connection each, and return how many were answered.
    """
    count = 0
    options = [("grpc.use_local_subchannel_pool", 1)]
    port = server.ports["api"]
    while while_() or not count:
        if authority:
            trusted = grpc.ssl_channel_credentials(Path(authority).read_bytes())
            channel = grpc.secure_channel(f"localhost:{port}", trusted, options)
        else:
            channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        with channel:
            ask = IsolateControllerStub(channel).ListSecrets
            ask(ListSecretsRequest(), metadata=to_metadata(server.key), timeout=PATIENCE)
        count += 1
    return count


@pytest.mark.faults
@pytest.mark.parametrize("is_secret", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("names", [*floods.FLOODS, ALL], ids=[*floods.FLOODS, "all"])
def test_calls_are_answered_under_a_flood(
    make_standing: Any, tmp_path: Path, names: str, is_secret: bool
):
    """
    While strangers flood a server, each call with a key is answered; memory and log stay
    bounded, and the server ends in order.
    """
    server = make_standing(tmp_path).plane
    authority = str(server.data / "tls" / "ca.pem") if is_secret else ""
    before = peak_of(server.program.process.pid)
    floodings = [
        floods.start_flood(name, server.ports["api"], SECONDS, authority)
        for name in names.split("+")
    ]
    call_again_and_again(
        server, authority, lambda: any(flooding.poll() is None for flooding in floodings)
    )
    sent = [int(flooding.communicate()[0]) for flooding in floodings]
    assert all(sent)
    assert peak_of(server.program.process.pid) - before < LITTLE
    assert server.program.end(signal.SIGTERM) == 0
    assert server.program.errors.read_text().count("\n") < LINES
