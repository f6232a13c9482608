"""Channels, and the errors that are retried on them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fal_core import function
from fal_core.errors import FalServerlessError
from fal_host_serverless import FalServerlessHost, SyncServerlessClient


def test_runs_are_not_retried(asking: SyncServerlessClient, recorder: Any):
    """
    A listing is retried while the service is unavailable; a run is not, since it may have
    begun.
    """
    recorder.failure = (grpc.StatusCode.UNAVAILABLE, "away")
    with pytest.raises(FalServerlessError, match="cannot be reached"):
        asking.keys.list()
    assert len(recorder.asked) > 1
    recorder.asked.clear()

    @function("virtualenv", host=FalServerlessHost(recorder.address))
    def nothing() -> None:
        return None

    with pytest.raises(FalServerlessError, match="cannot be reached"):
        nothing()
    assert len(recorder.asked) == 1
