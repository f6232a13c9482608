"""What containers take over from the caller: the certificates it trusts, and its proxies."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fal_env_container import ContainerImage
from fal_env_container.building.caller_settings import PROXY_VARIABLES

pytestmark = pytest.mark.faults


class Answer(BaseHTTPRequestHandler):
    """Answers with what it was asked for, as a proxy is asked for whole URLs."""

    def do_GET(self) -> None:
        body = f"asked for {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """An HTTP server on the loopback."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def proxy(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a proxy on the loopback, as the caller's variables name it."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HTTP_PROXY", address)
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("NO_PROXY", "inner.example")
    return address


def write_certificate(folder: Path) -> Path:
    """Write the certificate and the key of the loopback to a file, and return its path."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(written + made.public_bytes(serialization.Encoding.PEM))
    path = folder / "trusted.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_function_trusts_what_its_caller_trusts(
    contained: Any,
    server: ThreadingHTTPServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    The files that the caller's variables name are there in the container, a relative one too,
    and variables that name none are not.
    """
    path = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", "trusted.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "absent.pem"))
    url = f"https://127.0.0.1:{server.server_port}/x"

    @contained(network="host", shm_size="71m")
    def ask() -> tuple[str, list[str | None]]:
        import os
        from urllib.request import ProxyHandler, build_opener

        answer = build_opener(ProxyHandler({})).open(url).read().decode()
        names = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "PIP_CERT")
        return answer, [os.environ.get(name) for name in names]

    assert ask() == ("asked for /x", [str(path), str(path), None])


def test_a_function_has_the_proxies_of_its_caller(contained: Any, proxy: str):
    """In the network of this machine they are reached."""

    @contained(network="host", shm_size="72m")
    def ask() -> tuple[str, str | None]:
        import os
        from urllib.request import urlopen

        answer = urlopen("http://outside.example/x").read().decode()
        return answer, os.environ.get("NO_PROXY")

    assert ask() == ("asked for http://outside.example/x", "inner.example")


def test_a_proxy_that_a_container_does_not_reach_is_told(
    contained: Any, proxy: str, capfd: pytest.CaptureFixture[str]
):
    """The loopback of a container is its own: a proxy there is told, and what to do."""

    @contained(shm_size="73m")
    def look() -> str | None:
        import os

        return os.environ.get("HTTP_PROXY")

    assert look() == proxy
    said = capfd.readouterr().err
    assert "HTTP_PROXY and http_proxy name a proxy on the loopback of this machine" in said
    assert "network='host'" in said


def test_a_build_goes_the_way_of_its_caller(contained: Any, proxy: str, image: str):
    """Steps reach a proxy on the loopback of this machine, and the image knows none of it."""
    program = (
        "from urllib.request import urlopen; "
        "open('/answer', 'wb').write(urlopen('http://outside.example/y').read())"
    )
    text = f'FROM {image}\nRUN ["python3", "-c", "{program}"]\n'

    @contained(image=ContainerImage(text), network=False)
    def read() -> str:
        with open("/answer") as file:
            return file.read()

    assert read() == "asked for http://outside.example/y"
