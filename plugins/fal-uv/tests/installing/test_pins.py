"""Pins, from which an environment is built again."""

from __future__ import annotations

from fal_uv.installing.pins import add_hashes


def test_hashes_are_added_to_the_pins_they_belong_to() -> None:
    """Names are compared as indexes compare them; requirements from a URL get no hash."""
    compiled = "delta-four==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nsix==2.0\n"
    pins = ("Delta.Four==1.0", "six==2.0", "-e file:///a==b", "tool @ https://host/tool")
    assert add_hashes(pins, compiled) == (
        "Delta.Four==1.0 --hash=sha256:aa --hash=sha256:bb",
        *pins[1:],
    )
    assert add_hashes(pins, "") == pins
