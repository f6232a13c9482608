"""Hook calls: a plugin that fails keeps no other from being asked."""

from __future__ import annotations

from typing import Any

import pytest
from plugin_examples import plugin

from fal_core.errors import OptionError, PluginError
from fal_core.machines import Device, Machine, resolve_machine
from fal_core.plugins import registered


def raising(error: Exception) -> Any:
    """Return a hook that raises *error*."""

    def hook(machine_type: str = "") -> Any:
        raise error

    return hook


DEVICE = Device(kind="gpu", index=0, name="one", uuid="1", memory=1)


def test_a_plugin_that_cannot_answer_keeps_no_answer_back(caplog: Any) -> None:
    """Answers are collected from the other plugins, and the one that failed is logged once."""
    failing = plugin(fal_discover_devices=lambda: 1 / 0)
    with (
        registered(plugin(fal_discover_devices=lambda: [DEVICE])),
        registered(failing, "failing"),
        registered(plugin(fal_discover_devices=lambda: (DEVICE,))) as plugins,
    ):
        for _ in range(2):
            assert list(plugins.hooks.collect("fal_discover_devices")) == [DEVICE, DEVICE]
    [record] = caplog.records
    assert record.getMessage().startswith(
        "Plugin 'failing': its hook fal_discover_devices raised ZeroDivisionError: division"
    )


def test_a_plugin_that_lists_nothing_is_named(caplog: Any) -> None:
    """An answer that is no list is a failure of the plugin that gave it."""
    with registered(plugin(fal_discover_devices=lambda: 3), "counting") as plugins:
        assert list(plugins.hooks.collect("fal_discover_devices")) == []
    assert "Plugin 'counting': its hook fal_discover_devices raised TypeError" in caplog.text


def test_another_plugin_answers_in_place_of_one_that_fails() -> None:
    """Plugins are asked until one answers; only if none does, the failure is the error."""
    machine = Machine(name="large")
    knowing = plugin(
        fal_resolve_machine=lambda machine_type: machine if machine_type == "large" else None
    )
    failing = plugin(fal_resolve_machine=raising(KeyError("table")))
    with registered(knowing), registered(failing, "failing"):
        assert resolve_machine("large") is machine
        sentence = "Plugin 'failing': its hook fal_resolve_machine raised KeyError: 'table'"
        with pytest.raises(PluginError, match=sentence) as caught:
            resolve_machine("small")
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_a_plugin_refuses_is_its_answer() -> None:
    """An error of the tree is what the plugin has to say, and arrives as it is."""
    refusing = plugin(fal_resolve_machine=raising(OptionError("Not on Sundays.")))
    with registered(refusing), pytest.raises(OptionError, match="Not on Sundays"):
        resolve_machine("large")
