"""Request labels, taken as ``fal.App`` of the released SDK sets them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import grpc.aio
import pytest

from fal_core_worker.serving import services
from fal_server_agent.request_labels import take_request_labels

PORT = "NOMAD_ALLOC_PORT_grpc"


def served() -> None:
    """Stand for the function that a client of the SDK sends to be served."""


async def label(request_id: str) -> str:
    """Label the lines of a request as the SDK does, and return the request of this context."""
    labels = {"fal_request_id": request_id, "fal_endpoint": "/"} if request_id else {}
    main: Any = sys.modules["__main__"]
    main.isolate_log_context.set(labels)
    async with grpc.aio.insecure_channel(f"localhost:{os.environ[PORT]}") as channel:
        method = channel.unary_unary("/Isolate/SetMetadata")
        assert await method(b"\n\x03RUN", timeout=30) == b""
    return services.request_id.get()


def test_requests_side_by_side_have_labels_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """Each request's context has its id, and none once its labels are taken back."""
    monkeypatch.setattr(served, "__module__", "fal.app")

    async def main() -> None:
        async with take_request_labels(served):
            told = await asyncio.gather(*(asyncio.create_task(label(id)) for id in "ab"))
            assert told == ["a", "b"]
            assert await label("c") == "c"
            assert await label("") == ""
        assert PORT not in os.environ
        assert not hasattr(sys.modules["__main__"], "isolate_log_context")

    asyncio.run(main())


def test_access_log_is_of_no_request(monkeypatch: pytest.MonkeyPatch):
    """
    Each line of the server's access log is written once, and outside of the request that it is
    about, whose other lines keep their label.
    """
    monkeypatch.setattr(served, "__module__", "fal.app")
    written: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append((record.getMessage(), services.request_id.get()))

    handler, log = Handler(), logging.getLogger("uvicorn.access")
    log.addHandler(handler)
    monkeypatch.setattr(log, "level", logging.INFO)

    async def main() -> None:
        async with take_request_labels(served):
            log.info("before")
            await label("a")
            log.info("%s", "during")
            assert services.request_id.get() == "a"

    try:
        asyncio.run(main())
    finally:
        log.removeHandler(handler)
    assert written == [("before", ""), ("during", "")]
    assert not log.filters


def test_other_functions_find_no_place_for_labels():
    """Nothing listens for a function that the SDK has not made."""

    async def main() -> None:
        async with take_request_labels(served):
            assert PORT not in os.environ

    asyncio.run(main())
