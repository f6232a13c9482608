"""Health checks: read from a registration, with the defaults for what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from isolate_proto import RegisterApplicationRequest

from fal_server.specs.health_checks import HealthProbe


def read(**fields: Any) -> HealthProbe | None:
    request = RegisterApplicationRequest()
    request.health_check_config.SetInParent()
    for name, value in fields.items():
        setattr(request.health_check_config, name, value)
    return HealthProbe.read(request)


def test_registration_without_a_check():
    """A registration without a path has no health check."""
    assert HealthProbe.read(RegisterApplicationRequest()) is None
    assert read() is None
    assert read(timeout_seconds=3) is None


@pytest.mark.parametrize("fields", [{}, {"timeout_seconds": 0, "failure_threshold": 0}])
def test_zero_means_the_default(fields: dict[str, int]):
    """What is left out, or zero, is the default."""
    assert read(path="/health", **fields) == HealthProbe(path="/health")


def test_settings_of_a_check():
    """All settings are read, and the agent is told how to ask."""
    config = RegisterApplicationRequest().health_check_config
    check = read(
        path="ready",
        method=type(config).Method.Value("POST"),
        start_period_seconds=7,
        timeout_seconds=2,
        failure_threshold=9,
        call_regularly=False,
        allow_on_busy=True,
    )
    assert check == HealthProbe(
        path="ready",
        method="POST",
        start_period=7.0,
        timeout=2.0,
        failure_threshold=9,
        call_regularly=False,
        allow_on_busy=True,
    )
    assert check.header == {"path": "ready", "method": "POST", "timeout_seconds": 2.0}
