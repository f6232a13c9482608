"""
Addresses: which ones the server reaches when somebody else names them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What is left of IPv6 once all that is not the public internet is taken away, and where
#: it stands for an address of IPv4.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class AddressForbidden(OSError):
    """
    A name leads to an address that webhooks may not reach.
    """


class GuardedResolver(AbstractResolver):
    """
    Resolves names to public addresses alone, and to those of *allowed* networks.

    It is asked for the address that is then connected to, so that a name cannot lead
    elsewhere meanwhile.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if may_reach(each["host"], self._allowed)]
        if not kept:
            raise AddressForbidden(f"{host} leads to no address that may be reached.")
        return kept

    async def close(self) -> None:
        await self._inner.close()


def may_reach(address: str, allowed: Sequence[Network]) -> bool:
    """
    Tell whether *address* is a public one, or one of *allowed* networks.
    """
    try:
        found = _behind(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if any(found in network for network in allowed):
        return True
    public = found.is_global and not found.is_multicast
    return public and (found.version == 4 or found in _UNICAST)


def is_address(host: str) -> bool:
    """
    Tell whether *host* may be taken for an address rather than a name: the system reads
    ``127.1``, ``2130706433`` and ``0x7f.1`` as addresses, and resolves none of them.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdigit() or last.startswith("0x")


def _behind(address: Address) -> Address:
    """
    Return the address of IPv4 that *address* leads to, where it does.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
