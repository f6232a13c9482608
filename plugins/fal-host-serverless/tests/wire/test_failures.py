"""
gRPC errors as errors of fal-core.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fal_core.errors import (
    Cancelled,
    FalServerlessError,
    InternalFalServerlessError,
)
from fal_host_serverless import (
    SyncServerlessClient,
)


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
def test_errors_are_told_by_their_status(
    status: str,
    kind: type[Exception],
    words: str,
    asking: SyncServerlessClient,
    recorder: Any,
):
    """
    What the service answers instead is a documented error, caused by the answer.
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
def test_what_the_service_says_is_not_said_before(
    status: str, words: str, asking: SyncServerlessClient, recorder: Any
):
    """
    Words of the service that say what their status does are told alone.
    """
    recorder.failure = (grpc.StatusCode[status], words)
    with pytest.raises(FalServerlessError) as caught:
        asking.runners.kill("r")
    assert str(caught.value) == words


def test_service_that_is_not_there_is_told():
    """
    An address that nothing listens at is named in the error.
    """
    with pytest.raises(FalServerlessError, match=r"127\.0\.0\.1:1 cannot be reached"):
        SyncServerlessClient(host="127.0.0.1:1").runners.kill("r")
