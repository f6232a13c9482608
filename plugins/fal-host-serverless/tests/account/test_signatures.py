"""Functions that take the arguments of an operation."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.account import applications
from fal_host_serverless.apps import scale_app


def test_scaling_is_declared_once(asking: SyncServerlessClient, recorder: Any):
    """Functions and methods that scale have the parameters of the operation after their own."""
    declared = [*inspect.signature(applications.scale).parameters.values()]
    client, *rest = inspect.signature(scale_app).parameters.values()
    assert client.name == "client"
    assert rest == declared
    assert [*inspect.signature(asking.apps.scale).parameters.values()] == declared
    for scale in (asking.apps.scale, lambda *args, **words: scale_app(asking, *args, **words)):
        with pytest.raises(TypeError, match="keep_alves"):
            scale("app", keep_alves=1)
    assert recorder.asked == []
