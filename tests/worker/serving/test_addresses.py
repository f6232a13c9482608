"""Addresses: public ones, and those of private networks, in any notation."""

from __future__ import annotations

import pytest

from fal_core_worker.serving.addresses import is_address, is_public, read_address


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("::1", False),
        ("::", False),
        ("fe80::1%lo", False),
        ("fec0::1", False),
        ("fc00::1", False),
        ("ff0e::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d70e", True),
        ("64:ff9b:1::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:5db8:d70e::", True),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    """An address is public if it leads to the internet, and so is the IPv4 address in it."""
    assert is_public(read_address(address)) is public


def test_name_is_no_address() -> None:
    """A name is not read as an address."""
    with pytest.raises(ValueError, match="words"):
        read_address("words")


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.1", True),
        ("127.0.0.1.", True),
        ("::1", True),
        ("example.com", False),
        ("1password.com", False),
        ("localhost", False),
    ],
)
def test_addresses_in_any_notation(host: str, is_one: bool) -> None:
    """What the system would take for an address without a lookup is one."""
    assert is_address(host) is is_one
