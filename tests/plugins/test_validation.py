"""Validation: what a plugin provides is checked before anything of it is used."""

from __future__ import annotations

from typing import Any

import pytest
from plugin_examples import INVALID


@pytest.mark.parametrize("name", INVALID)
def test_plugin_that_breaks_the_contract_is_named_with_its_reason(
    listing: Any, name: str
) -> None:
    """A plugin that breaks the contract is listed under its name, with what breaks it."""
    label = f"{name} (plugin-{name.replace('_', '-')} 1.0)"
    assert INVALID[name][1] in listing["broken"][label]
    assert label in listing["broken"][label]
    assert listing["descriptions"][label] in listing["broken"][label]
