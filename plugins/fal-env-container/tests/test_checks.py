"""What ``fal-core doctor`` says about the container engine."""

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


def test_engine_that_starts_no_container_is_a_finding(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    An engine that answers, and lacks what it starts containers with, is not fine: the finding
    has its sentence, and says what to install.
    """
    written = (engine.folder / "containers.conf").read_text()
    lacking = tmp_path / "containers.conf"
    init = 'init_path = "/nowhere/catatonit"'
    lacking.write_text(written.replace("[containers]", f"[containers]\n{init}"))
    monkeypatch.setenv("CONTAINERS_CONF_OVERRIDE", str(lacking))
    [check] = fal_health_checks()
    finding = check.run()
    assert not finding.ok
    assert " starts no container: " in finding.message
    assert finding.message.endswith(
        "Install catatonit. Functions in containers fail until it does."
    )


def test_missing_engine_is_a_finding(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no engine answers, the finding says what to do."""
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.delenv("FAL_CORE_CONTAINER_ENGINE", raising=False)
    [check] = fal_health_checks()
    finding = check.run()
    assert not finding.ok
    assert finding.message == "No container engine is installed. Install Podman or Docker."
