"""
Request labels: which request an application of the released SDK works for.

For each request, ``fal.App`` sets labels for its log lines, in the two ways that the
runners of fal.ai take them (``fal`` 1.83, ``fal/app.py``): in the context variable
``isolate_log_context`` of ``__main__``, and by the method ``Isolate/SetMetadata`` of the
gRPC server at the local port that ``NOMAD_ALLOC_PORT_grpc`` names. The first tells
requests apart that run side by side. Without the second it sets no labels at all.

The access log of its server tells the owner who has asked, and is nothing that the request has
printed: its lines get no label.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fal_core_worker.serving import services

#: The environment variable that names the port of the gRPC server.
_PORT = "NOMAD_ALLOC_PORT_grpc"
#: The label with the id of a request.
_REQUEST_ID = "fal_request_id"


#: The access log of the server that the SDK starts.
_ACCESS_LOG = "uvicorn.access"


class AccessLogFilter(logging.Filter):
    """Has the records of the access log written outside of the request that they are about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is written by who asks; else it has been written here."""
        if not services.request_id.get():
            return True
        contextvars.copy_context().run(_handle_apart, record)
        return False


def _handle_apart(record: logging.LogRecord) -> None:
    services.request_id.set("")
    logging.getLogger(record.name).handle(record)


class LogContext:
    """Takes the labels of the current request; the SDK expects a context variable."""

    def set(self, labels: Mapping[str, str]) -> None:
        """Note the request that the current context works for, or that it works for none."""
        services.request_id.set(labels.get(_REQUEST_ID, ""))


@contextlib.asynccontextmanager
async def take_request_labels(function: Any) -> AsyncIterator[None]:
    """Take the labels that an application of the released SDK sets, if *function* serves one."""
    if getattr(function, "__module__", None) != "fal.app":
        yield
        return
    # The SDK requires it.
    import grpc.aio

    answer = grpc.unary_unary_rpc_method_handler(_acknowledge)
    methods = grpc.method_handlers_generic_handler("Isolate", {"SetMetadata": answer})
    server = grpc.aio.server(handlers=[methods])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    main: Any = sys.modules["__main__"]
    main.isolate_log_context = LogContext()
    os.environ[_PORT] = str(port)
    access_log, apart = logging.getLogger(_ACCESS_LOG), AccessLogFilter()
    access_log.addFilter(apart)
    try:
        yield
    finally:
        access_log.removeFilter(apart)
        del os.environ[_PORT], main.isolate_log_context
        await server.stop(None)


async def _acknowledge(request: bytes, context: Any) -> bytes:
    """Answer with an empty message: the labels have come by the context variable."""
    return b""
