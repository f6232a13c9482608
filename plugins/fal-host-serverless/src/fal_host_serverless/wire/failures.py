"""gRPC errors of the service, translated by their status to errors of fal-core."""

from __future__ import annotations

import re
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
from fal_host_serverless.errors import InternalServerlessRunFailed, ServerlessRunFailed

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import grpc

#: What stands before the details of the service, by status.
_SENTENCES = {
    "UNAUTHENTICATED": "The credentials are not accepted",
    "PERMISSION_DENIED": "The credentials do not allow it",
    "NOT_FOUND": "It is not found",
    "ALREADY_EXISTS": "It is there already",
    "RESOURCE_EXHAUSTED": "A limit is reached",
    "UNIMPLEMENTED": "The server does not offer it",
    "DEADLINE_EXCEEDED": "The server took too long",
}
#: Details with these words need no sentence before them.
_SAID = {"NOT_FOUND": "not found", "ALREADY_EXISTS": "already"}
#: How the sentence of an error of a build begins.
_BUILDING = re.compile(
    r"The [\w-]+ environment could not be built(?: at requirement '(?P<requirement>[^']*)')?: "
)
_INTERNAL = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


def translate(error: grpc.RpcError, address: str) -> FalCoreError:
    """Return the documented error for the gRPC error of the service at *address*."""
    status, details = _status(error), _details(error)
    if _is_untrusted(error):
        return FalServerlessError(refuse_certificate(address))
    if status == "UNAVAILABLE":
        return FalServerlessError(
            f"{address} cannot be reached. Check the address, the network and, for a server "
            f"of your own, its certificate. The connection says: {details}"
        )
    if status == "CANCELLED":
        return Cancelled()
    if status in _INTERNAL:
        return InternalFalServerlessError(details)
    sentence = _SENTENCES.get(status)
    if status in _SAID and _SAID[status] in details:
        sentence = None
    return FalServerlessError(f"{sentence}: {details}" if sentence else details)


def cause_of(error: grpc.RpcError) -> grpc.RpcError | None:
    """Return *error* as the cause of what it was translated to; None where that says it all."""
    return None if _is_untrusted(error) else error


def refuse_certificate(address: str) -> str:
    """Return the sentence for a server whose certificate cannot be verified."""
    return (
        f"{address} has a certificate that this machine does not trust. For a server of your "
        'own, run `eval "$(fal-core server env)"`, which names its bundle of certificates.'
    )


def has_lost_service(error: FalServerlessError) -> bool:
    """
    Return whether :func:`translate` made *error* of a service that could not be reached, or
    not any longer.
    """
    return error.__cause__ is not None and _status(error.__cause__) == "UNAVAILABLE"


def translate_run(error: grpc.RpcError, address: str, phase: str) -> HostError:
    """
    Return the reason why a run ended without an outcome.

    Arguments:
        phase: The last phase of the run, which tells a failed build or a lost worker
            from a refused request.
    """
    status, details = _status(error), _details(error)
    if phase == "building" and status in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        return _build_error(details)
    if status == "ABORTED" or (phase == "running" and status == "UNAVAILABLE"):
        return WorkerLost(detail=details)
    known = translate(error, address)
    if isinstance(known, HostError):
        return known
    failed = (
        InternalServerlessRunFailed
        if isinstance(known, InternalFalServerlessError)
        else ServerlessRunFailed
    )
    return failed(str(known))


def _build_error(details: str) -> EnvironmentBuildError:
    """Return the error of a build, whose sentence a server that runs fal-core has in *details*."""
    said = _BUILDING.match(details)
    if said is None:
        return EnvironmentBuildError("remote", details)
    return EnvironmentBuildError("remote", details[said.end() :], said["requirement"])


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Translate gRPC errors of the service at *address* that are raised in the context."""
    from fal_host_serverless.wire.protocol import grpc

    try:
        yield
    except grpc.RpcError as error:
        raise translate(error, address) from cause_of(error)


def _is_untrusted(error: Any) -> bool:
    return _status(error) == "UNAVAILABLE" and "CERTIFICATE_VERIFY_FAILED" in _details(error)


def _status(error: Any) -> str:
    return str(error.code().name) if callable(getattr(error, "code", None)) else "UNKNOWN"


def _details(error: Any) -> str:
    details = error.details() if callable(getattr(error, "details", None)) else None
    return details or str(error)
