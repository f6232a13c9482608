"""Fixtures of the tests of the stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest


@pytest.fixture
def key(plane, request) -> str:
    """The key of a user that the test has for itself."""
    return plane.add_user(f"u{abs(hash(request.node.name)) % 10**12}")


@pytest.fixture(scope="session")
def refusal_of() -> Callable[..., tuple[grpc.StatusCode, str]]:
    """A function that calls a procedure, and returns the code and the text of its refusal."""

    def call(plane: Any, name: str, request: Any, key: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            plane.call(name, request, key=key)
        return caught.value.code(), caught.value.details()

    return call
