"""URLs: the addresses of the server, and those of applications."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote

import attrs
from isolate_proto import ServiceURLs

from fal_server.settings import FILES, FOREIGN_NAMES

#: The pages of an application that a browser opens: its playground, or its OpenAPI
#: document. Clients append the path of each endpoint.
PLAYGROUND, DOCUMENT = "/playground#", "/openapi.json#"


#: A host as browsers send it, perhaps with a port.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?")

#: The longest host with a port, in characters.
_LONGEST_HOST = 255 + len(":65535")


def read_host(text: str) -> str:
    """
    Return what a client names the server: a host, perhaps with a port. Empty where *text* is
    no such name, or one by which a proxy of that client leads it here, and nobody else.
    """
    found = _HOST.fullmatch(text) if len(text) <= _LONGEST_HOST else None
    if found is None or int(text[len(found[1]) + 1 :] or 0) > 0xFFFF:
        return ""
    return "" if plain_host(text) in FOREIGN_NAMES else text


def plain_host(host: str) -> str:
    """Return *host* in lower case, and without the port that HTTPS has by itself."""
    return host.lower().removesuffix(":443")


def _plain_hosts(hosts: Mapping[str, str]) -> dict[str, str]:
    return {listener: plain_host(host) for listener, host in hosts.items()}


@attrs.frozen(kw_only=True)
class Urls:
    """
    The addresses of the listeners of this server, as clients reach them.

    Attributes:
        ports: The port of each listener; it is filled as they are opened.

        public: The hosts by which clients reach listeners through a proxy that speaks TLS.

        name: A name of this machine. Empty where it is told none.
    """

    host: str
    ports: Mapping[str, int]
    public: Mapping[str, str] = attrs.field(factory=dict, converter=_plain_hosts)
    name: str = ""

    def base(self, listener: str) -> str:
        """Return the URL of *listener*, without a path."""
        is_secret = listener in self.public or not _is_here(self.host)
        scheme = ("ws" if listener == "ws" else "http") + ("s" if is_secret else "")
        return f"{scheme}://{self.public.get(listener) or self.address(listener)}"

    def address(self, listener: str) -> str:
        """Return the host and the port of *listener*, without a proxy."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{self.ports.get(listener, 0)}"

    def named_by(self, server_host: str) -> str:
        """
        Return the host of the API in links for somebody who has reached the server by
        *server_host*, which is empty where that is unknown.
        """
        return self.public.get("api") or server_host or self.address("api")

    def api_base(self, requested_host: str) -> str:
        """
        Return the base of the API's URLs in a response.

        A server that listens on this machine alone gives out unencrypted URLs: processes
        here read them without trusting its certificate authority.

        Arguments:
            requested_host: The ``Host`` header of the request.
        """
        if plain_host(requested_host) in FOREIGN_NAMES:
            # Its proxy leads this client here, and nobody else.
            requested_host = self._own_host
        is_secret = self.is_public("api", requested_host)
        if self.host in {"127.0.0.1", "::1"} and not is_secret:
            return f"http://{self.address('api')}"
        return f"https://{requested_host}"

    def file_base(self, requested_host: str) -> str:
        """
        Return the base of the URLs of files, which others read than those who upload them.

        Arguments:
            requested_host: The ``Host`` header of the upload.
        """
        if FILES in self.public:
            return f"https://{self.public[FILES]}"
        return self.base("api") if "api" in self.public else self.api_base(requested_host)

    @property
    def _own_host(self) -> str:
        """The host by which clients reach the API."""
        if "api" in self.public:
            return self.public["api"]
        return f"{self.name}:{self.ports.get('api', 0)}" if self.name else self.address("api")

    def is_public(self, listener: str, requested_host: str) -> bool:
        """
        Tell whether a request to *listener* has come through the proxy, and so over TLS.

        Arguments:
            requested_host: The ``Host`` header of the request.
        """
        return self.public.get(listener) == plain_host(requested_host)

    def beside(self, listener: str, other: str, requested_host: str) -> str:
        """
        Return the URL of *listener* for somebody who has reached *other*.

        Arguments:
            requested_host: The ``Host`` header of the request to *other*.
        """
        host = _HOST.fullmatch(requested_host)
        if host is None or self.is_public(other, requested_host) or listener in self.public:
            return self.base(listener)
        scheme = self.base(listener).partition(":")[0]
        return f"{scheme}://{host[1]}:{self.ports.get(listener, 0)}"

    def service_urls(
        self, owner: str, alias: str, page: str = "", *, server_host: str = ""
    ) -> ServiceURLs:
        """
        Return the URLs of the application *alias* of *owner*.

        Arguments:
            page: The page that people are shown, relative to the URL of the application.

            server_host: The name of the server, as used by the client that is given the URLs.
                Empty where that is unknown.
        """
        path = f"/{owner}/{alias}"
        run, queue, ws = (
            self.beside(listener, "api", server_host) + path
            for listener in ("run", "queue", "ws")
        )
        log = f"/logs/?app_name={quote(alias, safe='')}"
        return ServiceURLs(
            playground=run + page, run=run, queue=queue, ws=ws, log=self.base("api") + log
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
