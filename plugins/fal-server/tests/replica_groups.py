"""Replicas: servers in processes of their own, on one PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from click.testing import CliRunner
from polling import settle
from programs import FAL_CORE, Server, end_runners
from served import ServedPlane

from fal_server.claims.claims import APPLICATIONS, read_claim
from fal_server.claims.replicas import read_replicas
from fal_server.commands import replica_commands
from fal_server.state.database_urls import make_engines


class Replicas:
    """
    Servers on one database of PostgreSQL, each with a data directory of its own, and an
    application to deploy on them.

    Attributes:
        url: The URL of the database.

        servers: The servers, of which any may be killed and started again.

        key: The key of their owner.
    """

    def __init__(
        self,
        root: Path,
        url: str,
        count: int,
        *arguments: str,
        variables: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        self.url = url
        self._root = root
        self._engine = make_engines(url, readers=1).writing
        files = ("--files", f"file://{root / 'files'}")
        self._arguments = (*arguments, *files, "--database", url)
        self._variables = variables or {}
        (root / "folder").mkdir()
        with ThreadPoolExecutor(count) as threads:
            self.servers = list(threads.map(self._start, range(count)))
        # One of them has made the first user.
        (self.key,) = (each.key for each in self.servers if each.key)
        for each in self.servers:
            (each.data / "owner.key").write_text(self.key)
            each.key = self.key
        self.served = [
            ServedPlane(root / "folder", lambda each=each: each) for each in self.servers
        ]

    def _start(self, number: int) -> Server:
        data = self._root / f"data{number}"
        return Server(data, *self._arguments, variables=self._variables.get(number))

    @property
    def decider(self) -> int:
        """The index of the server that decides, once one does."""
        found: list[int] = []

        def look() -> bool:
            found[:] = self._look()
            return bool(found)

        settle(look)
        return found[0]

    @property
    def token(self) -> int:
        """The token of the claim to decide."""
        with self._engine.connect() as connection:
            return read_claim(connection, APPLICATIONS).token

    @property
    def followers(self) -> list[int]:
        """The indices of the servers that run and do not decide."""
        decider = self.decider
        return [
            number
            for number, server in enumerate(self.servers)
            if number != decider and server.program.process.poll() is None
        ]

    @property
    def machines(self) -> set[str]:
        """The machines of the replicas that run, or ran lately."""
        with self._engine.connect() as connection:
            return {each.machine for each in read_replicas(connection)}

    def read(self, query: sa.Select[Any]) -> list[Any]:
        """Return the rows that the database has."""
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def list(self) -> Any:
        """Return what ``fal-core server replicas`` lists."""
        data = str(self.servers[0].data)
        done = CliRunner().invoke(replica_commands.replicas, ["--data", data, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def forget(self) -> None:
        """Connect anew, as the database was restarted."""
        self._engine.dispose()

    def close(self) -> None:
        """End all servers and their runners."""
        with ThreadPoolExecutor(len(self.servers)) as threads:
            running = (each for each in self.servers if each.program.process.poll() is None)
            for _ in threads.map(Server.close, running):
                pass
        # A test may have restarted the database.
        self.forget()
        # Those that were killed seem to run for some seconds.
        settle(lambda: not self._are_alive())
        self._engine.dispose()
        for variables in self._variables.values():
            # Runners of what stands for another machine are found there alone: it may tell of
            # those on the next one.
            command = [*FAL_CORE, "server", "end-runners", "--data", str(self.servers[0].data)]
            subprocess.run(
                [*command, "--database", self.url],
                env={**os.environ, **variables},
                check=False,
                capture_output=True,
            )
        end_runners(self.servers[0].data, database=self.url)

    def _are_alive(self) -> bool:
        with self._engine.connect() as connection:
            return any(each.is_alive for each in read_replicas(connection))

    def _look(self) -> list[int]:
        with self._engine.connect() as connection:
            claim = read_claim(connection, APPLICATIONS)
            replicas = {each.id: each for each in read_replicas(connection)}
        if not claim.is_ready or claim.expires_in < 0 or claim.holder not in replicas:
            return []
        port = replicas[claim.holder].ports["api"]
        return [
            number for number, server in enumerate(self.servers) if server.ports["api"] == port
        ]
