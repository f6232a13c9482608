"""
gRPC errors as errors of fal-core.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fal_core.errors import Cancelled, FalServerlessError, InternalFalServerlessError
from fal_host_serverless import SyncServerlessClient


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("UNAUTHENTICATED", FalServerlessError, "credentials are not accepted: why"),
        ("PERMISSION_DENIED", FalServerlessError, "do not allow it: why"),
        ("NOT_FOUND", FalServerlessError, "not found: why"),
        ("ALREADY_EXISTS", FalServerlessError, "there already: why"),
        ("UNIMPLEMENTED", FalServerlessError, "does not offer it: why"),
        ("INVALID_ARGUMENT", FalServerlessError, "^why$"),
        ("INTERNAL", InternalFalServerlessError, "^why$"),
        ("UNKNOWN", InternalFalServerlessError, "^why$"),
        ("CANCELLED", Cancelled, "cancelled"),
    ],
)
def test_errors_are_translated_by_their_status(
    status: str,
    kind: type[Exception],
    words: str,
    asking: SyncServerlessClient,
    recorder: Any,
):
    """
    A gRPC error is raised as a documented error, with the gRPC error as its cause.
    """
    recorder.failure = (grpc.StatusCode[status], "why")
    with pytest.raises(kind, match=words) as caught:
        asking.runners.kill("r")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("NOT_FOUND", "Runner 'r' was not found."),
        ("ALREADY_EXISTS", "There is a runner 'r' already."),
    ],
)
def test_details_are_not_repeated(
    status: str, words: str, asking: SyncServerlessClient, recorder: Any
):
    """
    Details that repeat the status are shown alone.
    """
    recorder.failure = (grpc.StatusCode[status], words)
    with pytest.raises(FalServerlessError) as caught:
        asking.runners.kill("r")
    assert str(caught.value) == words


def test_unreachable_service_is_named():
    """
    The error for an unreachable service names the address.
    """
    with pytest.raises(FalServerlessError, match=r"127\.0\.0\.1:1 cannot be reached"):
        SyncServerlessClient(host="127.0.0.1:1").runners.kill("r")
