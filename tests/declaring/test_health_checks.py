"""The option ``health_check_config``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fal_core.declaring import HealthCheckConfig
from fal_core.errors import OptionError


@pytest.mark.parametrize("make", [dict, SimpleNamespace])
def test_mappings_and_objects_are_read(make: Any) -> None:
    """Fields that are not declared are left to the host."""
    check = HealthCheckConfig.read(make(path="/up", timeout_seconds=3))
    assert check == HealthCheckConfig(path="/up", timeout_seconds=3)
    assert check.method is None


def test_without_a_check_the_value_is_none() -> None:
    """A service may have no check."""
    assert HealthCheckConfig.read(None) is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "has no path"),
        ({"path": ""}, "has no path"),
        ({"path": 3}, "has no path"),
        (SimpleNamespace(method="GET"), "has no path"),
        ({"path": "/", "timeout": 3}, "has no 'timeout'. It may have path, method,"),
    ],
)
def test_other_values_are_refused(config: Any, said: str) -> None:
    """The error names the wrong field."""
    with pytest.raises(OptionError, match=said):
        HealthCheckConfig.read(config)
