"""
Machines: what a machine type stands for.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine, resolve_machine
from fal_core.plugins import registered

LARGE = Machine(name="large", cpus=8, gpus=2)


def knowing(*machines: Machine) -> ModuleType:
    """
    Return a plugin that knows *machines*.
    """
    made: Any = ModuleType("knowing")
    made.fal_core_api = 1
    known = {machine.name: machine for machine in machines}
    made.fal_resolve_machine = hookimpl(lambda machine_type: known.get(machine_type))
    return made  # type: ignore[no-any-return]  # a module


def test_the_plugin_that_knows_a_machine_type_resolves_it() -> None:
    """
    Plugins are asked until one knows the machine type.
    """
    with registered(knowing(LARGE)), registered(knowing()):
        assert resolve_machine("large") is LARGE


def test_an_unknown_machine_type_is_refused_with_what_to_do() -> None:
    """
    A machine type that no plugin knows is an error that says what is missing.
    """
    sentence = "No installed plugin knows the machine type 'huge'. Install the one that does"
    with registered(knowing(LARGE)), pytest.raises(OptionError, match=sentence):
        resolve_machine("huge")
