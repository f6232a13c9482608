"""
Failures: what the service answers instead, by its status, as errors of fal-core.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalCoreError,
    FalServerlessError,
    HostError,
    InternalFalServerlessError,
    WorkerLost,
)
from fal_core.facts import facts

if TYPE_CHECKING:
    import grpc

#: What is said before the words of the service, by status.
_SENTENCES = {
    "UNAUTHENTICATED": "The credentials are not accepted",
    "PERMISSION_DENIED": "The credentials do not allow it",
    "NOT_FOUND": "It is not found",
    "ALREADY_EXISTS": "It is there already",
    "RESOURCE_EXHAUSTED": "A limit is reached",
    "UNIMPLEMENTED": "The server does not offer it",
    "DEADLINE_EXCEEDED": "The server took too long",
}
#: Where these are among the words, they say it themselves.
_SAID = {"NOT_FOUND": "not found", "ALREADY_EXISTS": "already"}
_INTERNAL = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


@facts
class RunFailed(FalServerlessError, HostError):
    """
    The service did not run the call; *message* says why.
    """


@facts
class RunFailedInside(InternalFalServerlessError, HostError):
    """
    The service failed while it ran the call.
    """


def translate(error: grpc.RpcError, host: str) -> FalCoreError:
    """
    Return the documented error that the answer *error* of *host* stands for.
    """
    status, words = _status(error), _words(error)
    if status == "UNAVAILABLE":
        return FalServerlessError(
            f"{host} cannot be reached. Check the address, the network and, for a server of "
            f"your own, its certificate. The connection says: {words}"
        )
    if status == "CANCELLED":
        return Cancelled()
    if status in _INTERNAL:
        return InternalFalServerlessError(words)
    sentence = _SENTENCES.get(status)
    if status in _SAID and _SAID[status] in words:
        sentence = None
    return FalServerlessError(f"{sentence}: {words}" if sentence else words)


def translate_run(error: grpc.RpcError, host: str, phase: str) -> HostError:
    """
    Return why a run ended without an outcome.

    Arguments:
        phase: What the run was doing last.
    """
    status, words = _status(error), _words(error)
    if phase == "building" and status in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        return EnvironmentBuildError("remote", words)
    if status == "ABORTED" or (phase == "running" and status == "UNAVAILABLE"):
        return WorkerLost(detail=words)
    known = translate(error, host)
    if isinstance(known, HostError):
        return known
    failed = RunFailedInside if isinstance(known, InternalFalServerlessError) else RunFailed
    return failed(str(known))


@contextmanager
def translated(host: str) -> Iterator[None]:
    """
    Raise what *host* answers instead as errors of fal-core.
    """
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        raise translate(error, host) from error


def _status(error: Any) -> str:
    return str(error.code().name) if callable(getattr(error, "code", None)) else "UNKNOWN"


def _words(error: Any) -> str:
    details = error.details() if callable(getattr(error, "details", None)) else None
    return details or str(error)
