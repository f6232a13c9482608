"""Checks: what ``fal-core doctor`` says about runners of this machine."""

from __future__ import annotations

import pytest

from fal_core_worker.serving import networks
from fal_server import fal_health_checks


@pytest.mark.usefixtures("without_networks")
def test_machine_whose_users_reach_the_ports_of_runners():
    """Without network namespaces the check fails, and says what that means and needs."""
    (check,) = fal_health_checks()
    finding = check.run()
    assert not finding.ok
    assert "pasta" in finding.message
    assert "'--allow-open-runners'" in finding.message


@pytest.mark.skipif(networks.missing() != "", reason="there are no network namespaces")
def test_machine_with_networks():
    """With them it passes."""
    (check,) = fal_health_checks()
    assert check.run().ok
