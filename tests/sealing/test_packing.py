"""Sealed functions as what a worker is sent."""

from __future__ import annotations

from fal_core.calls import SealedFunction
from fal_core.events import Sealed
from fal_core.sealing import pack_function


def test_a_function_is_packed_as_its_bytes() -> None:
    """The seals give way to their bytes; a portable form that is missing stays None."""
    native = SealedFunction(digest="d", native=Sealed(b"native"), refusal="It has no source.")
    both = SealedFunction(digest="d", native=Sealed(b"native"), portable=Sealed(b"portable"))

    assert pack_function(native) == ("d", b"native", None, "It has no source.")
    assert pack_function(both) == ("d", b"native", b"portable", "")
