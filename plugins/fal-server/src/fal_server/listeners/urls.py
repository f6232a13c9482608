"""
URLs: the addresses of the server, and those of applications.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import quote

import attrs
from isolate_proto import ServiceURLs

#: The pages of an application that a browser opens: its playground, or its OpenAPI
#: document. Clients append the path of each endpoint.
PLAYGROUND, DOCUMENT = "/playground#", "/openapi.json#"


@attrs.frozen(kw_only=True)
class Urls:
    """
    The addresses of the listeners of this server, as clients reach them.

    Attributes:
        ports: The port of each listener; it is filled as they are opened.
    """

    host: str
    ports: Mapping[str, int]

    def base(self, listener: str) -> str:
        """
        Return the URL of *listener*, without a path.
        """
        secret = "" if _is_here(self.host) else "s"
        scheme = "ws" if listener == "ws" else "http"
        return f"{scheme}{secret}://{self.address(listener)}"

    def address(self, listener: str) -> str:
        """
        Return the host and the port of *listener*.
        """
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{self.ports.get(listener, 0)}"

    def api_base(self, requested_host: str) -> str:
        """
        Return the base of the API's URLs in a response.

        A server that listens on this machine alone gives out unencrypted URLs: processes
        here read them without trusting its certificate authority.

        Arguments:
            requested_host: The ``Host`` header of the request.
        """
        if self.host in {"127.0.0.1", "::1"}:
            return f"http://{self.address('api')}"
        return f"https://{requested_host}"

    def service_urls(self, owner: str, alias: str, page: str = "") -> ServiceURLs:
        """
        Return the URLs of the application *alias* of *owner*.

        Arguments:
            page: The page that people are shown, relative to the URL of the application.
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
