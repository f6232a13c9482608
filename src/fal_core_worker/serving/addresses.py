"""
Addresses: which lead to the public internet, and which to machines of a private network.

What requests a URL that somebody else has chosen must not reach with it what only its own
network reaches.
"""

from __future__ import annotations

import ipaddress

#: The addresses of IPv6 that can be public, and those that NAT64 translates to IPv4.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """
    Return the address that *text* is, or the IPv4 address that it embeds.

    Raises:
        ValueError: It is no address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether *address*, as :func:`read_address` returns it, is public."""
    if not address.is_global or address.is_multicast:
        return False
    return address.version == 4 or address in _UNICAST


def is_address(host: str) -> bool:
    """
    Return whether *host* is an address rather than a name, in any notation that the system
    accepts without a lookup, such as ``127.1``, ``2130706433`` and ``0x7f.1``.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdigit() or last.startswith("0x")
