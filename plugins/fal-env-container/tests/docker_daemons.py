"""A Docker daemon of the tests' own, which they may kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from image_roots import python_archive
from local_engines import PYTHON

from fal_testing.harness.processes import is_alive, wait_until

#: Seconds that a daemon has to answer.
_PATIENCE = 60.0


class DockerDaemon:
    """``dockerd`` with directories of its own."""

    def __init__(self) -> None:
        # The path of a socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="fal-docker-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables that lead to it."""
        return {
            "DOCKER_HOST": f"unix://{self.folder}/s",
            "DOCKER_CONFIG": str(self.folder / "config"),
            "FAL_CORE_CONTAINER_ENGINE": "docker",
        }

    def start(self) -> bool:
        """Start the daemon, and return whether it answers."""
        programs = ("dockerd", "docker", "containerd", "runc")
        if os.geteuid() or not all(map(shutil.which, programs)):
            return False
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        (self.folder / "pid").unlink(missing_ok=True)
        # What a killed one has started ends with it, and is waited for while it is a zombie.
        record = self.folder / "exec" / "containerd" / "containerd.pid"
        if record.exists():
            assert wait_until(lambda: not is_alive(int(record.read_text())), _PATIENCE)
            record.unlink()
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", f"--host=unix://{self.folder}/s"),
                    *(f"--{name}={self.folder}/{place}" for name, place in places.items()),
                    # It changes nothing of the networks of this machine.
                    *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                    *("--default-ulimit=nofile=1024:1024", "--log-level=warn"),
                ],
                stdout=log,
                stderr=log,
            )
        return wait_until(self._answers, _PATIENCE)

    def _answers(self) -> bool:
        return self.run("ps", check=False).returncode == 0

    def end(self, number: signal.Signals) -> None:
        """End the daemon with a signal."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the client."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def import_python(self, archives: Path) -> str:
        """
        Return an image that has the system's Python, and a shell.

        Arguments:
            archives: Where the archives of images are kept for this run of the tests.
        """
        archive = str(python_archive(archives))
        self.run("import", "--change", "ENV PATH=/usr/bin:/bin", archive, PYTHON)
        return PYTHON

    def left(self) -> list[str]:
        """Return the containers that there are, and the mounts of containers."""
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        found = [line for line in mounts if str(self.folder) in line and "/merged" in line]
        return [*self.run("ps", "--all", "--quiet").stdout.split(), *found]

    def remove(self) -> None:
        """End the daemon, and remove all that it has."""
        if self._process is not None and self._process.poll() is None:
            if self.run("ps", "--all", "--quiet", check=False).stdout.split():
                listed = self.run("ps", "--all", "--quiet").stdout.split()
                self.run("rm", "--force", *listed, check=False)
            self.end(signal.SIGTERM)
        # One that was killed has left its own.
        mounts = [
            line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()
        ]
        for mount in reversed(mounts):
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
