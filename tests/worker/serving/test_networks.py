"""Networks that a process has for itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import free_port

PATIENCE = 120

pytestmark = pytest.mark.skipif(
    networks.missing() != "", reason="pasta or user namespaces are missing"
)

#: Tells who listens at a port of an address; nobody where it is refused.
GREETED = """
import socket


def greeted(address, port):
    try:
        with socket.create_connection((address, port), 60) as connection:
            return connection.recv(100).decode()
    except OSError:
        return "nobody"
"""


@pytest.fixture
def greeting() -> Iterator[int]:
    """A port of the loopback address where everybody is greeted."""
    server = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")

    thread = threading.Thread(target=greet)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def start(code: str, *reached: int) -> subprocess.Popen[str]:
    """Start a program in a network of its own, to which no port leads."""
    return subprocess.Popen(
        [*networks.command("", reached), sys.executable, "-c", GREETED + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_loopback_address_leads_to_the_ports_that_are_named(greeting: int):
    """
    A program reaches the services of its machine by the ports that were named, and others
    are its own.
    """
    code = f"print(greeted('127.0.0.1', {greeting}))"
    assert start(code, greeting).communicate(timeout=PATIENCE)[0] == "hello\n"
    assert start(code).communicate(timeout=PATIENCE)[0] == "nobody\n"
    listens = f"socket.create_server(('0.0.0.0', {greeting})); print('listens')"
    assert start(listens).communicate(timeout=PATIENCE)[0] == "listens\n"


def test_nobody_reaches_into_it():
    """A port inside, on all addresses, is none of the machine."""
    port = free_port()
    code = f"with socket.create_server(('0.0.0.0', {port})): print('up', flush=True); input()"
    with start(code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
        assert port not in networks.listening_ports()
        program.communicate("\n", timeout=PATIENCE)


def test_ports_that_are_listened_on(greeting: int):
    """Ports of the loopback address are found, but for those that are named."""
    assert greeting in networks.listening_ports()
    assert greeting not in networks.listening_ports(greeting)


#: Answers one question about a name on the loopback address, and asks it from inside.
RESOLVES = """
import socket
import subprocess
import sys
import threading

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))


def answer():
    while True:
        asked, sender = server.recvfrom(4096)
        kind = asked[asked.index(0, 12) + 1 :][:2]
        found = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + bytes((192, 0, 2, 77))
        count = int(kind == b"\\0\\1")
        head = asked[:2] + b"\\x81\\x80\\0\\1" + bytes((0, count)) + b"\\0\\0\\0\\0"
        end = asked.index(0, 12) + 5
        server.sendto(head + asked[12:end] + found * count, sender)


threading.Thread(target=answer, daemon=True).start()
inside = "import socket; print(socket.gethostbyname('somewhere.example'))"
subprocess.run([*sys.argv[1:], sys.executable, "-c", inside])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change resolv.conf for a test")
def test_nameserver_on_the_loopback_address(tmp_path: Path):
    """
    A nameserver that listens on the loopback address of the machine, as systemd's does, is
    asked from inside as well.
    """
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:60\n")
    (tmp_path / "resolves.py").write_text(RESOLVES)
    change = 'mount --bind "$0/resolv.conf" /etc/resolv.conf; exec "$@"'
    program = [sys.executable, str(tmp_path / "resolves.py"), *networks.command("")]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", change, str(tmp_path), *program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "192.0.2.77\n", done.stderr
