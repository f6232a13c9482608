"""gRPC errors as errors of fal-core."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalServerlessError,
    InternalFalServerlessError,
)
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.wire.failures import translate_run


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
    """A gRPC error is raised as a documented error, with the gRPC error as its cause."""
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
    """Details that repeat the status are shown alone."""
    recorder.failure = (grpc.StatusCode[status], words)
    with pytest.raises(FalServerlessError) as caught:
        asking.runners.kill("r")
    assert str(caught.value) == words


def test_unreachable_service_is_named():
    """The error for an unreachable service names the address."""
    with pytest.raises(FalServerlessError, match=r"127\.0\.0\.1:1 cannot be reached"):
        SyncServerlessClient(host="127.0.0.1:1").runners.kill("r")


class Refused(grpc.RpcError):
    """What a server answers where it cannot build."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self._said = said

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self) -> str:
        return self._said


@pytest.mark.parametrize("requirement", [None, "six>9"])
def test_the_error_of_a_build_has_its_facts(requirement: str | None):
    """What a server says of a build is not said twice."""
    built = EnvironmentBuildError("container", "There is none.", requirement)
    found = translate_run(Refused(str(built)), "127.0.0.1:1", "building")
    assert found.args == EnvironmentBuildError("remote", "There is none.", requirement).args
    other = translate_run(Refused("There is none."), "127.0.0.1:1", "building")
    assert other.args == EnvironmentBuildError("remote", "There is none.").args
