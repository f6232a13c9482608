"""Bodies that are small as they are sent, and huge once they are decompressed."""

from __future__ import annotations

import sys
import zlib
from typing import Any

import grpc
import pytest
from isolate_proto import SetSecretRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from process_memory import peak_of
from programs import to_metadata

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="The peak of memory is read from /proc."
)

#: The bytes of a body once it is decompressed, and how much more memory a server may take.
HUGE, LITTLE = 256 << 20, 128 << 20

#: How zlib writes the encodings of HTTP.
ENCODINGS = {"gzip": 31, "deflate": 15}

PATIENCE = 120.0


@pytest.fixture(scope="module")
def limited(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with low limits."""
    limits = ("--largest-message", "8M", "--largest-storage", "32M")
    return make_standing(tmp_path_factory.mktemp("limited"), *limits).plane


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """A huge body in each encoding."""
    bodies = {}
    for encoding, bits in ENCODINGS.items():
        packer = zlib.compressobj(9, zlib.DEFLATED, bits)
        parts = [packer.compress(b" " * (1 << 20)) for _ in range(HUGE >> 20)]
        bodies[encoding] = b"".join(parts) + packer.flush()
    return bodies


@pytest.mark.parametrize("encoding", [*ENCODINGS])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/files/missing_hashes", "A body of this request may have 8M bytes at most."),
        ("/files/upload", "The files of the account have 32M already"),
    ],
)
def test_body_that_becomes_huge_is_refused(
    limited: Any, bombs: dict[str, bytes], encoding: str, path: str, told: str
):
    """A limit on a body holds for what becomes of it, and no more than that is decompressed."""
    before = peak_of(limited.program.process.pid)
    with limited.client() as client:
        headers = {"Content-Encoding": encoding}
        answer = client.post(path, content=bombs[encoding], headers=headers)
        assert (answer.status_code, answer.json()["detail"][: len(told)]) == (413, told)
        assert client.get("/users/current").status_code == 200
    assert peak_of(limited.program.process.pid) - before < LITTLE


def test_message_that_becomes_huge_is_refused(limited: Any):
    """The limit on messages of gRPC holds for what becomes of a compressed one."""
    before = peak_of(limited.program.process.pid)
    request = SetSecretRequest(name="HUGE", value="x" * HUGE)
    key = to_metadata(limited.key)
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{limited.ports['api']}", options) as channel:
        send = IsolateControllerStub(channel).SetSecret
        with pytest.raises(grpc.RpcError) as caught:
            send(request, metadata=key, compression=grpc.Compression.Gzip, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert peak_of(limited.program.process.pid) - before < LITTLE
