"""
Layers of requirements.
"""

from __future__ import annotations

import pytest

from fal_core.errors import OptionTypeError
from fal_env_virtualenv import Virtualenv


@pytest.mark.parametrize(
    ("requirements", "where"),
    [
        ("numpy", "requirements"),
        ([["numpy"], "six"], r"requirements\[1\]"),
        ([["numpy", 3]], r"requirements\[0\]\[1\]"),
    ],
)
def test_entries_and_layers_do_not_mix(requirements: object, where: str) -> None:
    """
    Requirements are a list of entries or of layers; the error says which element is neither.
    """
    with pytest.raises(OptionTypeError, match=where):
        Virtualenv(requirements=requirements)  # type: ignore[arg-type]  # wrong on purpose


def test_layers_are_what_was_written() -> None:
    """
    A list is one layer, a list of lists is several, and extending adds one.
    """
    assert Virtualenv().layers == ()
    assert Virtualenv(requirements=["a", "b"]).layers == (("a", "b"),)
    layered = Virtualenv(requirements=[["a"], ["b"]], tags=["x"])
    assert layered.layers == (("a",), ("b",))
    assert layered.extend(["c"]) == Virtualenv(requirements=[["a"], ["b"], ["c"]], tags=["x"])
