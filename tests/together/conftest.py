"""Tests that need several distributions, or a service of this machine."""

from __future__ import annotations

import getpass
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from fal_core_worker import trees
from fal_core_worker.serving.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

if importlib.util.find_spec("fal_host_local") is None:
    collect_ignore_glob = ["*.py"]


@attrs.frozen(kw_only=True)
class Server:
    """
    A running sshd.

    Attributes:
        address: The address, in the form that ssh takes.

        arguments: The arguments with which ssh logs in without a prompt.

        pid: Its process, of which each session is a child.
    """

    address: str
    arguments: tuple[str, ...]
    pid: int

    def session_of(self, pid: int) -> list[int]:
        """Return the processes of the session in which *pid* runs."""
        sessions = [[one, *trees.descendants(one)] for one in trees.children(self.pid)]
        [found] = [session for session in sessions if pid in session]
        return found


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real sshd on loopback that lets this user in with a key."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("openssh-server and openssh-client are not both installed")
    place = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True
        )
    port = free_port()
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\n"
        f"AuthorizedKeysFile {place}/user.pub\nPidFile {place}/pid\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        # Calls at once are as many connections that have not logged in yet; by default some
        # of more than ten are refused.
        "MaxStartups 200\n"
    )
    if getpass.getuser() == "root":
        # Where sshd drops its privileges; a service manager would make it.
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", f"{place}/sshd_config"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield Server(
            address=f"{getpass.getuser()}@127.0.0.1",
            arguments=(
                *("-p", str(port), "-i", f"{place}/user", "-F", "none"),
                *("-o", f"UserKnownHostsFile={place}/known", "-o", "LogLevel=ERROR"),
                *("-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"),
            ),
            pid=server.pid,
        )
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int) -> None:
    """Return once something listens on *port*."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            # Until something listens.
            time.sleep(0.02)
        else:
            return


def load_example(name: str) -> ModuleType:
    """Return the module ``examples/<name>.py``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ssh_example() -> ModuleType:
    """The host of the tutorial."""
    return load_example("ssh_host")


@pytest.fixture(scope="session")
def building_example() -> ModuleType:
    """The host that builds on another machine."""
    return load_example("building_host")


@pytest.fixture(scope="session")
def directory_example() -> ModuleType:
    """The host that detaches work."""
    return load_example("directory_host")
