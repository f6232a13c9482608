"""
Origins: where a runner listens.
"""

from __future__ import annotations

import functools
from urllib.parse import urlsplit

import attrs

from fal_core.abilities import Tunnel
from fal_server.fleet.placing.ways import TUNNEL, read_tunnel
from fal_server_agent.sockets import UNIX


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
        """
        The value of the header ``Host``.
        """
        if self.socket:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@functools.lru_cache(1024)
def find_origin(url: str) -> HttpOrigin:
    """
    Return the origin of *url*.
    """
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
    """
    Return whether *text* is the URL of something that can be asked.
    """
    try:
        return isinstance(text, str) and bool(find_origin(text).host)
    except ValueError:
        return False
