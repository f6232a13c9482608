"""Ways: how the runners of a host are reached, and where they listen."""

from __future__ import annotations

import functools
import json
from urllib.parse import urlsplit

import attrs

from fal_core.abilities import Tunnel, TunnellingHost
from fal_server_agent.networks.sockets import UNIX

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
        """Whether runners are on other machines, which have other files and other ports."""
        return self.tunnels is not None

    def lead_to(self, url: str) -> str:
        """Return the URL by which this server sends requests to what a runner has reported."""
        tunnel = None if self.tunnels is None else self.tunnels.find_tunnel(url)
        return url if tunnel is None else write_tunnel(tunnel, url)


def write_tunnel(tunnel: Tunnel, url: str) -> str:
    """Return the URL of a tunnel to what is otherwise reached at *url*."""
    return TUNNEL + json.dumps([tunnel.host, tunnel.port, tunnel.greeting.hex(), url])


def read_tunnel(text: str) -> tuple[Tunnel, str]:
    """Return the tunnel of an URL, and the URL by which others reach the same."""
    host, port, greeting, url = json.loads(text.removeprefix(TUNNEL))
    return Tunnel(host, port, bytes.fromhex(greeting)), url


@attrs.frozen
class HttpOrigin:
    """
    Where a runner listens.

    Attributes:
        path: The prefix of all paths.

        socket: The path of a Unix socket, which is used in place of a port.

        tunnel: Leads to it, in place of a port of this machine.
    """

    host: str
    port: int
    is_encrypted: bool
    path: str
    socket: str = ""
    tunnel: Tunnel | None = None

    @property
    def name(self) -> str:
        """The value of the header ``Host``."""
        if self.socket:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@functools.lru_cache(1024)
def find_origin(url: str) -> HttpOrigin:
    """Return the origin of *url*."""
    if url.startswith(UNIX):
        return HttpOrigin("localhost", 80, False, "", url.removeprefix(UNIX))
    tunnel = None
    if url.startswith(TUNNEL):
        tunnel, url = read_tunnel(url)
    parts = urlsplit(url)
    is_encrypted = parts.scheme == "https"
    port = parts.port or (443 if is_encrypted else 80)
    path = parts.path.rstrip("/")
    return HttpOrigin(parts.hostname or "", port, is_encrypted, path, tunnel=tunnel)


def is_url(text: object) -> bool:
    """Return whether *text* is the URL of something that can be asked."""
    try:
        return isinstance(text, str) and bool(find_origin(text).host)
    except ValueError:
        return False
