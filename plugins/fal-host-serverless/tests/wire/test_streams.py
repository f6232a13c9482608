"""Streams of the service."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import isolate_proto
import pytest

from fal_host_serverless.wire import channels, streams
from fal_testing.harness.processes import wait_until


def test_unread_streams_are_released(monkeypatch: pytest.MonkeyPatch):
    """A stream that is not read to its end is cancelled, and gRPC keeps nothing of it."""
    cancelled = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(cancelled.set)
        yield b""
        cancelled.wait()

    service = grpc.method_handlers_generic_handler(
        "controller.IsolateController", {"Run": grpc.unary_stream_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    try:
        sent = channels.stub(f"127.0.0.1:{port}").Run(isolate_proto.HostedRun())
        with streams.streaming(sent) as stream:
            next(stream)
        assert cancelled.wait(30)
        assert sent.cancelled()
        kept = weakref.ref(sent)
        del sent, stream

        def is_released() -> bool:
            gc.collect()
            return kept() is None

        assert wait_until(is_released, 30)
    finally:
        server.stop(None)
