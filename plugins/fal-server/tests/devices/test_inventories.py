"""Inventories: the devices of the machine, as drivers have told last."""

from __future__ import annotations

import logging

import pytest

from fal_server.devices.inventories import Inventory
from fal_testing.harness.devices import gpu, machine_with


def test_what_changes_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices that come and go are logged, and nothing is while they stay."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    caplog.set_level(logging.INFO, "fal_server.devices")
    inventory = Inventory()
    with machine_with(gpu(0), gpu(1)):
        assert inventory.can_look
        inventory.look()
        inventory.look()
    assert caplog.messages == ["GPUs that runners may have: 2 of Test H100."]
    caplog.clear()
    with machine_with(gpu(1), gpu(2)):
        inventory.look()
    assert caplog.messages == [
        "GPUs that runners may have: 2 of Test H100.",
        "GPU GPU-0 is gone, or its driver no longer tells of it.",
        "GPU GPU-2 has come.",
    ]


def test_drivers_are_not_asked_all_the_time() -> None:
    """What was told a moment ago is good enough where that is said."""
    inventory = Inventory()
    with machine_with(gpu(0)):
        inventory.look()
    with machine_with():
        inventory.look(oldest=3600)
        assert len(inventory.found) == 1
        inventory.look()
    assert not inventory.found


def test_only_visible_devices_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the server itself may not use are not to be given."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    inventory = Inventory()
    with machine_with(gpu(0), gpu(1)):
        inventory.look()
    assert [each.uuid for each in inventory.visible] == ["GPU-1"]
    assert len(inventory.found) == 2
