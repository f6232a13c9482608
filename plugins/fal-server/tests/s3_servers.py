"""A server of S3 for the tests, on a port of loopback, with what it keeps in its memory."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec

#: The bucket that it has from the start.
BUCKET = "files"

#: What a client has to be told, besides the address.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    # The server tries again.
    "AWS_MAX_ATTEMPTS": "1",
}

# The bucket is there before anybody can ask for it.
_MAIN = f"""
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.server import main
get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].create_bucket({BUCKET!r}, "us-east-1")
main()
"""


def missing() -> str | None:
    """Return why there is no server for tests here. None where there is one."""
    for name in ("moto", "flask", "flask_cors", "s3fs"):
        if find_spec(name) is None:
            return f"the package {name} is not installed"
    return None


class S3Server:
    """
    A server that runs until it is closed.

    Attributes:
        port: Its port, which stays the same when it is started again.
    """

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, with nothing in its bucket."""
        command = [sys.executable, "-c", _MAIN, "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        lines: list[str] = []
        for line in self._process.stderr:
            lines.append(line)
            if found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise RuntimeError(f"It has ended: {lines}")
        self._drain = subprocess.Popen(
            ["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL
        )
        self._process.stderr.close()

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        made = urllib.request.Request(f"{self.address}/{name}", method="PUT")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(made).close()

    @property
    def address(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables of its clients."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.address, "NO_PROXY": "127.0.0.1"}

    def close(self) -> None:
        """End it. What it has kept is gone."""
        self._process.kill()
        self._process.wait()
        self._drain.wait()
