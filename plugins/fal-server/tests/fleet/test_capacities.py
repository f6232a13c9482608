"""
Capacities: whether runners fit on this machine together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from fal_core import hookimpl
from fal_core.machines import Device, Machine
from fal_core.plugins import registered
from fal_server.fleet.capacities import describe_crowding

#: The memory of this machine, in bytes.
TOTAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_memory_of_two_revisions():
    """
    Runners whose memory limits together are more than this machine has are told, and no
    others: not where only one is known, nor where one of them alone is too large.
    """
    sizes = {"HALF": TOTAL // 2, "LARGE": TOTAL * 3 // 5}
    told = describe_crowding(["LARGE"], "LARGE", sizes)
    assert told.startswith("The previous runners may use ")
    assert "GiB of memory and a new one" in told
    assert describe_crowding(["HALF", "HALF"], "HALF", sizes)
    for present, another in (
        (["HALF"], "HALF"),
        ([], "LARGE"),
        (["unknown"], "LARGE"),
        (["LARGE"], "unknown"),
    ):
        assert not describe_crowding(present, another, sizes), (present, another)


def test_gpus_of_two_revisions():
    """
    The same holds for GPUs, if plugins know those of the machine types and of this machine.
    """

    class Plugin:
        fal_core_api = 1

        @hookimpl
        def fal_resolve_machine(self, machine_type: str) -> Machine | None:
            return Machine(name="GPU", gpus=1) if machine_type == "GPU" else None

        @hookimpl
        def fal_discover_devices(self) -> Iterable[Device]:
            gpu = Device(kind="gpu", index=0, name="Card", uuid="1", memory=1 << 34)
            return [gpu, Device(kind="tpu", index=0, name="Other", uuid="2", memory=1 << 34)]

    with registered(Plugin()):
        assert describe_crowding(["GPU"], "GPU", {}) == (
            "The previous runners use 1 GPU and a new one 1, and this machine has 1."
        )
        assert not describe_crowding([], "GPU", {})
        assert not describe_crowding(["GPU"], "S", {})
