"""A PostgreSQL of the tests, with a database for each."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

#: Who the server runs as where the tests run as root, as which it refuses to run.
_USER = "postgres"

#: What a database of a test is copied from.
_TEMPLATE = "tables"

#: Nobody needs the data after the tests: what the kernel has written is there after a SIGKILL.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB")

#: Ends the program when its standard input ends: with this process, however that does.
_WATCHED = 'exec 3<&0; (read _ <&3; kill -INT $$) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'


def missing() -> str | None:
    """Return why there is no PostgreSQL for tests here. None where there is one."""
    try:
        import psycopg  # noqa: F401  # It is only looked for.
    except ImportError as error:
        return f"the driver of PostgreSQL cannot be imported: {error}"
    if _find("initdb") is None:
        return "PostgreSQL is not installed: there is no initdb"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "there is no setpriv, which starts it as another user"
    if os.geteuid() == 0 and subprocess.run(["id", _USER], capture_output=True).returncode:
        return f"PostgreSQL does not run as root, and there is no user {_USER}"
    return None


class PostgreSQL:
    """
    A server of PostgreSQL on a port of loopback, which keeps its files below */tmp*.

    Attributes:
        folder: Where its data are.

        port: Its port, which stays the same when it is started again.
    """

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fal-postgresql-"))
        self.port = 0
        self._settings = (*_SETTINGS, *settings)
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER, _USER)
        made = [_find("initdb"), "-A", "trust", "-U", _USER, "--no-sync", "-E", "UTF8"]
        made += ["--locale=C.UTF-8", "-D", str(self._data)]
        try:
            subprocess.run(_as_user(made), check=True, cwd="/", capture_output=True)
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        import psycopg

        command = [_find("postgres"), "-D", str(self._data), "-k", str(self.folder)]
        log = self.folder / "log"
        while True:
            port = self.port or _free_port()
            options = ["-h", "127.0.0.1", "-p", str(port)]
            options += [word for each in self._settings for word in ("-c", each)]
            with log.open("ab") as file:
                process = subprocess.Popen(
                    ["sh", "-c", _WATCHED, "sh", *_as_user([*command, *options])],
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                )
            self._process = process
            while process.poll() is None:
                try:
                    psycopg.connect(_to_text(port, "postgres"), connect_timeout=10).close()
                except psycopg.OperationalError:
                    continue
                self.port = port
                return
            if process.stdin is not None:
                process.stdin.close()
            if self.port or "Address already in use" not in log.read_text("utf-8", "replace"):
                raise RuntimeError(
                    f"PostgreSQL has ended:\n{log.read_text('utf-8', 'replace')}"
                )
            log.unlink()

    def stop(self, kind: signal.Signals = signal.SIGINT) -> None:
        """End it: at once and in order, which SIGINT means to it, or as in a crash by SIGQUIT."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(kind)
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def close(self) -> None:
        """End it, and remove its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def execute(
        self, statement: str, *, database: str = "postgres"
    ) -> list[tuple[object, ...]]:
        """Execute a statement by itself, and return the rows that it yields."""
        import psycopg

        with psycopg.connect(_to_text(self.port, database), autocommit=True) as connection:
            # The statements are those of tests.
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def make_url(self, name: str) -> str:
        """Return the URL of the database *name*."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def make_empty(self) -> str:
        """Make a database with nothing in it, and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.make_url(name)

    def make_database(self) -> str:
        """Make a database with the tables of the server, and nothing in them; return its URL."""
        from fal_server.state.databases import Database
        from fal_server.store.tables import table_names

        if not self._has_template:
            assert table_names()
            self.execute(f"CREATE DATABASE {_TEMPLATE}")
            Database(self.make_url(_TEMPLATE)).close()
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.make_url(name)

    def drop(self, url: str) -> None:
        """Remove the database at *url*, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    @property
    def _data(self) -> Path:
        return self.folder / "data"


def _find(program: str) -> str | None:
    # Debian has only some of them in the path.
    found = shutil.which(program)
    return found or max(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), default=None)


def _as_user(command: list[str | None]) -> list[str]:
    words = ["setpriv", "--reuid", _USER, "--regid", _USER, "--init-groups"]
    return [
        *(words if os.geteuid() == 0 else ()),
        *(word for word in command if word is not None),
    ]


def _to_text(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user={_USER} dbname={database}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
