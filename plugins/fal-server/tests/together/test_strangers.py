"""Limits: how little a server does for whoever has no key, and how much for those who have."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from isolate_proto import ListSecretsRequest, SetSecretRequest
from process_memory import peak_of
from programs import to_metadata

SERVICE = "/controller.IsolateController"

#: The most bytes of a message that the server reads, and how many calls it takes at once.
LARGEST, MOST_CALLS = 8 << 20, 3

PATIENCE = 120.0


@pytest.fixture(scope="module")
def limited(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with low limits."""
    limits = ("--largest-message", str(LARGEST), "--most-calls", str(MOST_CALLS))
    return make_standing(tmp_path_factory.mktemp("limited"), *limits).plane


@pytest.fixture
def channel(limited: Any) -> Iterator[grpc.Channel]:
    """A channel to the API that sends messages of any size."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{limited.ports['api']}", options) as channel:
        yield channel


@pytest.mark.skipif(sys.platform != "linux", reason="The peak of memory is read from /proc.")
@pytest.mark.parametrize("method", ["ListSecrets", "Run"])
def test_message_without_a_key_is_not_read(limited: Any, channel: grpc.Channel, method: str):
    """A large message whose sender has no key is refused, and takes no memory."""
    send = channel.unary_stream(f"{SERVICE}/{method}")
    before = peak_of(limited.program.process.pid)
    with pytest.raises(grpc.RpcError) as caught:
        list(send(bytes(256 << 20), timeout=PATIENCE))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert peak_of(limited.program.process.pid) - before < 64 << 20


def test_message_that_is_too_large_is_refused(limited: Any, channel: grpc.Channel):
    """The limit on messages holds for callers with a key, and the server goes on."""
    request = SetSecretRequest(name="LARGE", value="x" * LARGEST)
    with pytest.raises(grpc.RpcError) as caught:
        limited.call("SetSecret", request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not limited.call("ListSecrets", ListSecretsRequest()).secrets


def test_calls_beyond_the_limit_are_refused(limited: Any, channel: grpc.Channel, settle: Any):
    """
    While as many calls run as may, others are refused; a call that ends makes room. Callers
    without a key take no room.
    """
    hold = channel.stream_stream(f"{SERVICE}/ListSecrets")
    key = to_metadata(limited.key)

    def refused() -> grpc.StatusCode | None:
        try:
            limited.call("ListSecrets", ListSecretsRequest())
        except grpc.RpcError as error:
            return error.code()
        return None

    def silent() -> Iterator[bytes]:
        # It begins with a message that never comes.
        ended.wait(PATIENCE)
        yield from ()

    ended = threading.Event()
    with ExitStack() as calls:
        calls.callback(ended.set)
        for _ in range(2 * MOST_CALLS):
            with pytest.raises(grpc.RpcError) as caught:
                list(hold(silent(), timeout=PATIENCE))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert refused() is None
        held = [hold(silent(), metadata=key, timeout=PATIENCE) for _ in range(MOST_CALLS)]
        for each in held:
            calls.callback(each.cancel)
            # It runs once it greets.
            each.initial_metadata()
        assert refused() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held[0].cancel()
        settle(lambda: refused() is None)
