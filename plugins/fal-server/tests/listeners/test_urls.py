"""URLs: the addresses that clients are given."""

from __future__ import annotations

import pytest

from fal_server.listeners.urls import Urls, read_host

PORTS = {"api": 1, "run": 2, "queue": 3, "ws": 4}


@pytest.mark.parametrize(
    ("host", "run", "ws"),
    [
        ("127.0.0.1", "http://127.0.0.1:2", "ws://127.0.0.1:4"),
        ("127.0.0.2", "http://127.0.0.2:2", "ws://127.0.0.2:4"),
        ("localhost", "http://localhost:2", "ws://localhost:4"),
        ("::1", "http://[::1]:2", "ws://[::1]:4"),
        ("0.0.0.0", "https://127.0.0.1:2", "wss://127.0.0.1:4"),
        ("::", "https://127.0.0.1:2", "wss://127.0.0.1:4"),
        ("10.0.0.7", "https://10.0.0.7:2", "wss://10.0.0.7:4"),
        ("gpu.example", "https://gpu.example:2", "wss://gpu.example:4"),
    ],
)
def test_address_of_a_listener(host: str, run: str, ws: str):
    """
    Clients on this machine connect in plain text, and others by TLS; a server that listens
    everywhere is reached here.
    """
    urls = Urls(host=host, ports=PORTS)
    assert (urls.base("run"), urls.base("ws")) == (run, ws)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("0.0.0.0", "https://proxy.example:9"),
        ("10.0.0.7", "https://proxy.example:9"),
    ],
)
def test_base_of_urls_in_responses(host: str, base: str):
    """
    URLs in responses have the host that the client has called, unless only this machine
    reaches the server.
    """
    assert Urls(host=host, ports=PORTS).api_base("proxy.example:9") == base


def test_ports_that_are_opened_later():
    """The ports are read when a URL is made, as listeners open one after another."""
    ports: dict[str, int] = {}
    urls = Urls(host="127.0.0.1", ports=ports)
    assert urls.address("run") == "127.0.0.1:0"
    ports["run"] = 8080
    assert urls.address("run") == "127.0.0.1:8080"


def test_urls_of_an_application():
    """An application has a URL at each gateway, a page for people, and one for its logs."""
    urls = Urls(host="127.0.0.1", ports=PORTS).service_urls("owner", "a&b", "/playground#")
    assert urls.run == "http://127.0.0.1:2/owner/a&b"
    assert urls.playground == "http://127.0.0.1:2/owner/a&b/playground#"
    assert urls.queue == "http://127.0.0.1:3/owner/a&b"
    assert urls.ws == "ws://127.0.0.1:4/owner/a&b"
    assert urls.log == "http://127.0.0.1:1/logs/?app_name=a%26b"


def test_listeners_behind_a_proxy():
    """
    Clients are given the host of the proxy, which speaks TLS with them; runners, and clients
    that come without it, go on to reach the server itself.
    """
    public = {"api": "api.example", "ws": "ws.example"}
    urls = Urls(host="127.0.0.1", ports=PORTS, public=public)
    assert (urls.base("api"), urls.base("ws")) == ("https://api.example", "wss://ws.example")
    assert urls.base("run") == "http://127.0.0.1:2"
    assert urls.address("api") == "127.0.0.1:1"
    assert urls.api_base("api.example") == "https://api.example"
    assert urls.api_base("127.0.0.1:1") == "http://127.0.0.1:1"
    assert urls.file_base("127.0.0.1:1") == "https://api.example"
    assert Urls(host="127.0.0.1", ports=PORTS).file_base("any") == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("named", "requested", "is_public"),
    [
        ("Fal.example.com", "fal.example.com", True),
        ("fal.example.com", "FAL.example.com", True),
        ("fal.example.com", "fal.example.com:443", True),
        ("fal.example.com:443", "fal.example.com", True),
        ("fal.example.com:8443", "fal.example.com:8443", True),
        ("fal.example.com", "fal.example.com:8443", False),
        ("fal.example.com:8443", "fal.example.com", False),
    ],
)
def test_hosts_of_a_proxy_are_compared_as_hosts(named: str, requested: str, is_public: bool):
    """
    Whether a request came through the proxy does not depend on the case of the host, nor on
    whether the usual port is written.
    """
    urls = Urls(host="127.0.0.1", ports=PORTS, public={"api": named, "queue": named})
    assert urls.is_public("queue", requested) is is_public
    base = f"https://{requested}" if is_public else "http://127.0.0.1:1"
    assert urls.api_base(requested) == base


def test_hosts_of_files():
    """
    The URLs of files have the host that was chosen for them, and none that leads a single
    client here by its proxy.
    """
    chosen = {"files": "CDN.example.com", "api": "api.example.com"}
    urls = Urls(host="10.0.0.7", ports=PORTS, public=chosen)
    assert urls.file_base("v3.fal.media") == "https://cdn.example.com"
    assert urls.api_base("v3.fal.media") == "https://api.example.com"
    named = Urls(host="0.0.0.0", ports=PORTS, name="gpu.example.com")
    assert named.file_base("v3.fal.media") == "https://gpu.example.com:1"
    assert Urls(host="10.0.0.7", ports=PORTS).file_base("rest.fal.ai") == "https://10.0.0.7:1"
    here = Urls(host="127.0.0.1", ports=PORTS)
    assert here.file_base("v3.fal.media") == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "localhost:6001",
        "Fal.example.com:8443",
        "10.0.0.5:8000",
        "[::1]:65535",
        "a" * 255 + ":65535",
    ],
)
def test_names_of_a_server(text: str):
    """A client names the server by a host, perhaps with a port."""
    assert read_host(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":6001",
        "a:",
        "a:x",
        "a:65536",
        "a b",
        "a/b",
        "user@a",
        "a,b",
        "%5B::1%5D:6001",
        "::1",
        "h\u00f6st",
        "a\n",
        "a" * 256 + ":65535",
        "v3.fal.media",
        "REST.fal.ai:443",
    ],
)
def test_names_that_stand_for_no_server(text: str):
    """What is no host is no name, and neither is one by which a proxy leads a single client here."""
    assert read_host(text) == ""


def test_urls_for_a_caller_of_another_name():
    """
    A caller is given URLs with the name by which it has reached the server, and the hosts of
    the proxy, which come before that.
    """
    named = "fal.example.com:8443"
    here = Urls(host="127.0.0.1", ports=PORTS)
    assert here.named_by(named) == named
    assert here.named_by("") == "127.0.0.1:1"
    urls = here.service_urls("owner", "app", server_host=named)
    assert urls.run == "http://fal.example.com:2/owner/app"
    assert urls.ws == "ws://fal.example.com:4/owner/app"
    everywhere = Urls(host="0.0.0.0", ports=PORTS)
    urls = everywhere.service_urls("owner", "app", "#/", server_host="[::1]")
    assert urls.queue == "https://[::1]:3/owner/app"
    assert urls.playground == "https://[::1]:2/owner/app#/"
    proxied = Urls(
        host="0.0.0.0", ports=PORTS, public={"api": "api.example", "run": "run.example"}
    )
    assert proxied.named_by(named) == proxied.named_by("") == "api.example"
    urls = proxied.service_urls("owner", "app", server_host=named)
    assert urls.run == "https://run.example/owner/app"
    assert urls.queue == "https://fal.example.com:3/owner/app"
