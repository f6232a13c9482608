"""gRPC methods that answer with a stream of messages, some of which carry logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fal_core.events import LogSink
from fal_host_serverless.wire import channels
from fal_host_serverless.wire.failures import translated
from fal_host_serverless.wire.messages import wanted_logs
from fal_host_serverless.wire.services import Service

#: Tells a server of fal-core to report URLs only once they answer, and whether its
#: applications have a page of their own.
_ANNOUNCEMENT = ("fal-core-client", "1")


def announced_metadata(service: Service) -> list[tuple[str, str]]:
    """Return the metadata of a request that names this client to servers of fal-core."""
    return [*service.credentials.metadata(), _ANNOUNCEMENT]


@contextmanager
def following(
    service: Service, method: str, request: Any, log: LogSink, *, announced: bool = False
) -> Iterator[Iterator[Any]]:
    """
    Send *request* and give its messages; the stream is cancelled at the end of the context.

    Arguments:
        log: Takes the lines of each message that people want to see, before the message
            is given.

        announced: Name this client in the metadata, as :func:`announced_metadata` does.

    Raises:
        FalServerlessError: The service answered with an error.
    """
    metadata = announced_metadata(service) if announced else service.credentials.metadata()
    sent = getattr(channels.stub(service.address), method)(request, metadata=metadata)
    with translated(service.address), streaming(sent) as stream:
        yield _logging(stream, log)


def _logging(stream: Any, log: LogSink) -> Iterator[Any]:
    for message in stream:
        for line in wanted_logs(message.logs):
            log(line)
        yield message


@contextmanager
def streaming(stream: Any) -> Iterator[Any]:
    """Cancel *stream* at the end of the context, even where it was not read to its end."""
    try:
        yield stream
    finally:
        stream.cancel()
