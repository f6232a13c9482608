"""Capacities: whether runners fit on this machine together."""

from __future__ import annotations

import os

from fal_server.devices.capacities import Use, describe_crowding

#: The memory of this machine, in bytes.
TOTAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_memory_of_two_revisions() -> None:
    """
    Runners whose memory limits together are more than this machine has are told, and no
    others: not where only one is known.
    """
    half, large, unknown = Use(TOTAL // 2), Use(TOTAL * 3 // 5), Use()
    told = describe_crowding(large, large, 0)
    assert told.startswith("The previous runners may use ")
    assert "GiB of memory and a new one" in told
    for present, another in ((half, half), (unknown, large), (large, unknown)):
        assert not describe_crowding(present, another, 0), (present, another)


def test_gpus_of_two_revisions() -> None:
    """The same holds for GPUs."""
    assert describe_crowding(Use(gpus=1), Use(gpus=1), 1) == (
        "The previous runners use 1 GPU and a new one 1, and this machine has 1."
    )
    assert describe_crowding(Use(gpus=2), Use(gpus=1), 2).startswith(
        "The previous runners use 2 GPUs"
    )
    assert not describe_crowding(Use(gpus=1), Use(gpus=1), 2)
    assert not describe_crowding(Use(), Use(gpus=1), 0)
    assert not describe_crowding(Use(gpus=1), Use(), 1)
