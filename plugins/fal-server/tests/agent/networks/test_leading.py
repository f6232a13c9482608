"""Leading: the programs of a runner use a proxy of their own, and keep what they used before."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fal_server_agent.networks.leading import DIRECT, Leading

NAMES = ("led.example", "files.led.example")

#: The authority of the server, in the form of one, and those that come with it.
OURS = b"-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"
SYSTEM = b"-----BEGIN CERTIFICATE-----\nsystem\n-----END CERTIFICATE-----\n"


class Listener:
    """
    A server that keeps what it reads first of each connection, answers it, and reads on to the
    end.
    """

    def __init__(self, answer: bytes) -> None:
        self.asked: list[bytes] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(1 << 16))
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                # Closed with something unread, it would take its answer back.
                while connection.recv(1 << 16):
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(60)


@contextmanager
def listening(answer: bytes) -> Iterator[Listener]:
    """Start a listener."""
    listener = Listener(answer)
    try:
        yield listener
    finally:
        listener.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The file of authorities that the server gives its runners."""
    path = tmp_path / "bundle.pem"
    path.write_bytes(OURS + b"\n" + SYSTEM)
    return path


@pytest.fixture
def make_leading(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Leading]]:
    """Make the leading of a runner, which ends with the test."""
    with ExitStack() as stack:

        def make(server: int = 9, *, folder: str = str(tmp_path), **inherited: str) -> Leading:
            told = {"names": NAMES, "server": ["127.0.0.1", server], "bundle": str(bundle)}
            made = Leading(told, inherited, folder)
            stack.callback(made.close)
            return made

        yield make


def ask(variables: dict[str, str], place: str) -> tuple[bytes, bytes]:
    """
    Ask for *place* through the proxy of *variables*, and return the status line and what
    answers ``hello`` there, which is said where the proxy leads there.
    """
    url = urlsplit(variables["HTTPS_PROXY"])
    with socket.create_connection((url.hostname, url.port), 60) as connection:
        shown = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        head = f"CONNECT {place} HTTP/1.1\r\nProxy-Authorization: Basic {shown}\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as stream:
            status = stream.readline()
            while stream.readline() not in (b"\r\n", b""):
                pass
            if b" 200 " in status:
                connection.sendall(b"hello")
            return status, stream.read()


def test_hosts_lead_to_the_server(make_leading: Any):
    """
    The variables name a proxy with a token, by which the hosts lead to the server; it is not
    used for this machine.
    """
    with listening(b"server") as server:
        variables: dict[str, str] = {}
        make_leading(server.port).lead(variables)
        status, answer = ask(variables, "led.example:443")
        assert (status, answer) == (b"HTTP/1.1 200 Connected\r\n", b"server")
        assert server.asked == [b"hello"]
    assert variables["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert variables[DIRECT] == variables["HTTPS_PROXY"]
    assert "https_proxy" not in variables
    assert "HTTP_PROXY" not in variables


def test_proxy_of_the_user_is_kept_for_other_hosts(make_leading: Any):
    """
    A proxy that the runner has anyway is used for all hosts but those that lead to the server
    and those that were to be reached without it.
    """
    with (
        listening(b"server") as server,
        listening(b"HTTP/1.1 200 OK\r\n\r\nbeyond") as beyond,
    ):
        url = f"http://ann:word@127.0.0.1:{beyond.port}"
        variables = {"https_proxy": url, "NO_PROXY": "apart.invalid, led.example"}
        make_leading(server.port).lead(variables)
        assert variables["https_proxy"] == variables["HTTPS_PROXY"] != url
        assert variables["no_proxy"] == variables["NO_PROXY"]
        assert DIRECT not in variables
        # The one that leads to the server is not left out.
        assert variables["NO_PROXY"] == "127.0.0.1,localhost,::1,apart.invalid"
        assert ask(variables, "led.example:443")[1] == b"server"
        assert ask(variables, "other.example:443")[1] == b"beyond"
        assert beyond.asked[0].startswith(b"CONNECT other.example:443 HTTP/1.1\r\n")
        assert b"\r\nProxy-Authorization: Basic YW5uOndvcmQ=\r\n" in beyond.asked[0]
        assert b"502" in ask(variables, "apart.invalid:443")[0]
        assert len(beyond.asked) == 1


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY"])
def test_hosts_are_led_where_no_proxy_is_to_be_used(make_leading: Any, name: str):
    """
    A proxy that is to be used for no host is not used, and hosts lead to the server
    nevertheless.
    """
    with listening(b"server") as server:
        variables = {name: "http://127.0.0.1:9", "no_proxy": "*"}
        make_leading(server.port).lead(variables)
        assert variables["no_proxy"] == variables["NO_PROXY"] == "127.0.0.1,localhost,::1"
        assert ask(variables, "files.led.example:443")[1] == b"server"


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://proxy.example", "http://"])
def test_proxies_of_other_kinds_stay(
    make_leading: Any, url: str, caplog: pytest.LogCaptureFixture
):
    """A runner whose proxy is of another kind keeps its variables, and is told so once."""
    variables = {"ALL_PROXY": url}
    leading = make_leading()
    for _ in range(2):
        leading.lead(variables)
    assert variables == {"ALL_PROXY": url}
    assert ["do not lead to the server" in each for each in caplog.messages] == [True]


def test_variables_of_each_call(make_leading: Any):
    """
    A runner of functions is told its variables anew with each call: it has one proxy all the
    time, which knows what was told last.
    """
    with listening(b"HTTP/1.1 200 OK\r\n\r\nbeyond") as beyond:
        leading, variables = make_leading(), {}
        leading.lead(variables)
        first = dict(variables)
        leading.lead(variables)
        assert variables == first
        variables["HTTPS_PROXY"] = f"http://127.0.0.1:{beyond.port}"
        leading.lead(variables)
        assert variables["HTTPS_PROXY"] == first["HTTPS_PROXY"]
        assert DIRECT not in variables
        assert ask(variables, "other.example:443")[1] == b"beyond"
        variables["ALL_PROXY"] = "socks5://127.0.0.1:9"
        del variables["HTTPS_PROXY"]
        leading.lead(variables)
        assert variables == {"ALL_PROXY": "socks5://127.0.0.1:9"}


def test_loopback_is_not_reached(make_leading: Any):
    """
    The proxy leads to no port of the loopback, however its address is written: programs reach
    it themselves, and nobody else may by this way.
    """
    with listening(b"secret") as other:
        variables: dict[str, str] = {}
        make_leading().lead(variables)
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "0.0.0.0"):
            assert b"403" in ask(variables, f"{host}:{other.port}")[0]
        for host in ("[::ffff:127.0.0.1]", "a.localhost"):
            assert b"200" not in ask(variables, f"{host}:{other.port}")[0]
        assert other.asked == []


def test_authorities_of_users_go_on_to_hold(make_leading: Any, bundle: Path, tmp_path: Path):
    """Programs trust the server beside what they have trusted, and nothing else."""
    mine, folder = tmp_path / "mine.pem", tmp_path / "folder"
    mine.write_bytes(b"mine\n")
    folder.mkdir()
    variables = {
        "SSL_CERT_FILE": str(mine),
        "REQUESTS_CA_BUNDLE": str(folder),
        "CURL_CA_BUNDLE": str(bundle),
    }
    make_leading().lead(variables)
    assert Path(variables["SSL_CERT_FILE"]).read_bytes() == b"mine\n\n" + OURS
    assert variables["REQUESTS_CA_BUNDLE"] == str(folder)
    assert variables["CURL_CA_BUNDLE"] == str(bundle)


def test_authorities_that_were_inherited(make_leading: Any, bundle: Path, tmp_path: Path):
    """
    The authorities of an image, in whose place the server puts its own, go on to hold too; a
    file that the server has read as well is not joined again.
    """
    image, system = tmp_path / "image.pem", tmp_path / "system.pem"
    image.write_bytes(b"image\n")
    system.write_bytes(SYSTEM)
    variables = {"SSL_CERT_FILE": str(bundle)}
    make_leading(SSL_CERT_FILE=str(image)).lead(variables)
    joined = Path(variables["SSL_CERT_FILE"]).read_bytes()
    assert joined == bundle.read_bytes() + b"\nimage\n"
    variables = {"SSL_CERT_FILE": str(bundle)}
    make_leading(SSL_CERT_FILE=str(system)).lead(variables)
    assert variables["SSL_CERT_FILE"] == str(bundle)


def test_requests_trusts_the_server_beside_its_own_authorities(
    make_leading: Any, bundle: Path, tmp_path: Path
):
    """
    Requests, which brings its authorities with it, trusts the server too. What was written for
    it without a directory of the runner goes at the end.
    """
    certifi = pytest.importorskip("certifi")
    variables = {"SSL_CERT_FILE": str(bundle)}
    leading = make_leading(folder="")
    leading.lead(variables)
    joined = Path(variables["REQUESTS_CA_BUNDLE"])
    assert joined.read_bytes() == Path(certifi.where()).read_bytes() + b"\n" + OURS
    leading.close()
    assert not joined.parent.exists()


FORK = """
import os, socket, sys
from urllib.parse import urlsplit
from fal_server_agent.networks.leading import Leading

leading = Leading(eval(sys.argv[1]), dict(os.environ))
leading.lead(os.environ)
if not (child := os.fork()):
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
port = urlsplit(os.environ["HTTPS_PROXY"]).port
with socket.create_connection(("127.0.0.1", port)) as asking:
    asking.sendall(b"CONNECT led.example:443 HTTP/1.1\\r\\n\\r\\n")
    print(asking.recv(100).split()[1].decode())
"""


def test_end_of_a_child_process_leaves_the_proxy(bundle: Path):
    """The proxy goes on when a process ends that the runner has forked."""
    told = {"names": NAMES, "server": ["127.0.0.1", 9], "bundle": str(bundle)}
    # Newer Pythons warn of what is tested here.
    command = [sys.executable, "-W", "ignore", "-c", FORK, repr(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "407\n", "")


USE = """
import os, sys, threading
from fal_server_agent.networks.leading import Leading

leading = Leading(eval(sys.argv[1]), dict(os.environ))
leading.lead(os.environ)
assert [each.name for each in threading.enumerate() if each.daemon] == ["connect proxy"]
"""


def test_process_ends_with_a_proxy(bundle: Path):
    """A process that leads its programs ends as any other, and says nothing."""
    told = {"names": NAMES, "server": ["127.0.0.1", 9], "bundle": str(bundle)}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", USE, repr(told)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
