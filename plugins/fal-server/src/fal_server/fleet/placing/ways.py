"""
Ways: how the runners of a host are reached.
"""

from __future__ import annotations

import json

import attrs

from fal_core.abilities import Tunnel, TunnellingHost

#: What an URL starts with that leads through a tunnel. No client ever sees one.
TUNNEL = "tunnel:"


@attrs.frozen
class Way:
    """
    How the runners of one host are reached.

    Attributes:
        name: The host, as the server was told of it.

        tunnels: Opens tunnels to runners on other machines. None for those of this one.
    """

    name: str = "local"
    tunnels: TunnellingHost | None = None

    @property
    def is_elsewhere(self) -> bool:
        """
        Whether runners are on other machines, which have other files and other ports.
        """
        return self.tunnels is not None

    def lead_to(self, url: str) -> str:
        """
        Return the URL by which this server sends requests to what a runner has reported.
        """
        tunnel = None if self.tunnels is None else self.tunnels.find_tunnel(url)
        return url if tunnel is None else write_tunnel(tunnel, url)


def write_tunnel(tunnel: Tunnel, url: str) -> str:
    """
    Return the URL of a tunnel to what is otherwise reached at *url*.
    """
    return TUNNEL + json.dumps([tunnel.host, tunnel.port, tunnel.greeting.hex(), url])


def read_tunnel(text: str) -> tuple[Tunnel, str]:
    """
    Return the tunnel of an URL, and the URL by which others reach the same.
    """
    host, port, greeting, url = json.loads(text.removeprefix(TUNNEL))
    return Tunnel(host, port, bytes.fromhex(greeting)), url
