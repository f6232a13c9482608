"""
Urls: where applications are reached.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import quote

import attrs
from isolate_proto import ServiceURLs

#: Pages of an application that a browser opens, by which of them it has: one to try it on,
#: and the document of its endpoints. Clients put the path of each endpoint behind.
PLAYGROUND, DOCUMENT = "/playground#", "/openapi.json#"


@attrs.frozen(kw_only=True)
class Urls:
    """
    Where the doors of this server are, as clients reach them.

    Attributes:
        ports: By door; it is filled as doors are opened.
    """

    host: str
    ports: Mapping[str, int]

    def base(self, door: str) -> str:
        """
        Return the address of *door*, without a path.
        """
        secret = "" if _is_here(self.host) else "s"
        scheme = "ws" if door == "ws" else "http"
        return f"{scheme}{secret}://{self.address(door)}"

    def address(self, door: str) -> str:
        """
        Return the host and the port of *door*.
        """
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{self.ports.get(door, 0)}"

    def api_base(self, requested_host: str) -> str:
        """
        Return how the URLs of the API begin that a client is given.

        Where the server is for this machine alone they are not encrypted: what runs here
        reads them without trusting our authority.

        Arguments:
            requested_host: What the request says in ``Host``.
        """
        if self.host in {"127.0.0.1", "::1"}:
            return f"http://{self.address('api')}"
        return f"https://{requested_host}"

    def service_urls(self, owner: str, alias: str, page: str = "") -> ServiceURLs:
        """
        Return where the application *alias* of *owner* is reached.

        Arguments:
            page: The one that people are shown, behind the url of the application.
        """
        path = f"/{owner}/{alias}"
        return ServiceURLs(
            playground=self.base("run") + path + page,
            run=self.base("run") + path,
            queue=self.base("queue") + path,
            ws=self.base("ws") + path,
            log=self.base("api") + f"/logs/?app_name={quote(alias, safe='')}",
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
