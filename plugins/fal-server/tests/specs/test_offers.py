"""What a server runs of what requests ask for."""

from __future__ import annotations

import pytest
from isolate_proto import EnvironmentDefinition, MachineRequirements

from fal_server.errors import Invalid
from fal_server.specs.offers import Offers


def test_environments_and_machines_are_checked():
    """A request is refused for a kind that is not run, whatever its machine type."""
    offers = Offers(kinds=("conda",), machine_types=("BIG",))
    requirements = MachineRequirements(machine_types=["BIG"])
    offers.check(requirements, [EnvironmentDefinition(kind="conda")])
    offers.check(requirements)
    with pytest.raises(Invalid, match="none of kind 'container'"):
        offers.check(requirements, [EnvironmentDefinition(kind="container")])
