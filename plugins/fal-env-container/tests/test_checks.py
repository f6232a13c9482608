"""
What ``fal-core doctor`` says about the container engine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from local_engines import LocalEngine

from fal_env_container import fal_health_checks


def test_engine_is_described(engine: LocalEngine):
    """
    The engine is named with its version, how workers in it are spoken to, and whether it keeps
    limits.
    """
    [check] = fal_health_checks()
    finding = check.run()
    assert finding.ok
    assert finding.message.startswith("podman ")
    assert finding.message.endswith(
        "are spoken to through passed descriptors. podman keeps the limits of machine types."
    )


def test_missing_engine_is_a_finding(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Where no engine answers, the finding says what to do.
    """
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.delenv("FAL_CORE_CONTAINER_ENGINE", raising=False)
    [check] = fal_health_checks()
    finding = check.run()
    assert not finding.ok
    assert finding.message == "No container engine is installed. Install Podman or Docker."
