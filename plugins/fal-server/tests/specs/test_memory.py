"""Memory: the limits of machine types."""

from __future__ import annotations

import pytest

from fal_core import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_server.errors import ServerError
from fal_server.specs.memory import memory_of, read_sizes


def test_sizes():
    """A size is a number of bytes, with a unit of 1024 if it has one."""
    assert read_sizes(["XS=512M", "S=1GiB", "M = 2g".replace(" ", ""), "L=134217728"]) == {
        "XS": 512 << 20,
        "S": 1 << 30,
        "M": 2 << 30,
        "L": 128 << 20,
    }


@pytest.mark.parametrize("written", ["XS", "XS=", "=1G", "XS=1.5G", "XS=-1G", "XS=1M"])
def test_invalid_size_is_refused(written: str):
    """A size that cannot be read, or is too small for any runner, is refused."""
    with pytest.raises(ServerError, match=r"64M|XS=512M"):
        read_sizes([written])


def test_machine_types_of_a_plugin():
    """
    What a plugin states of a machine type applies if the operator has asked for that, and
    has named no other limit for the type.
    """

    class Plugin:
        fal_core_api = 1

        @hookimpl
        def fal_resolve_machine(self, machine_type: str) -> Machine | None:
            return Machine(name="BIG", memory=1 << 40) if machine_type == "BIG" else None

    assert memory_of("BIG", {}, stated=True) is None
    with registered(Plugin()):
        assert memory_of("BIG", {}, stated=True) == 1 << 40
        assert memory_of("BIG", {"BIG": 1 << 30}, stated=True) == 1 << 30
        assert memory_of("BIG", {"BIG": 1 << 30}, stated=False) == 1 << 30
        assert memory_of("BIG", {}, stated=False) is None
        assert memory_of("SMALL", {}, stated=True) is None
