"""Key-value stores of an account: on the server that runs this, or in a file of this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from fal_serve.media.errors import KVStoreException
from fal_serve.media.places import PERSISTENT, find_place
from fal_serve.media.uploads import FileServer, find_server

_SECONDS = 30.0
_LEAST, _MOST = 60, 30 * 24 * 3600

#: Where the stores of processes are that no server runs.
_FILE = PERSISTENT / ".fal" / "kv.sqlite"

#: fal.ai has a host of its own for them.
_HOSTED = {"rest.fal.ai": "kv.fal.media", "rest.alpha.fal.ai": "kv.fal.media"}


class KVStore:
    """
    A key-value store, whose values are texts.

    Arguments:
        db_name: The name of the store; keys of others are apart.
    """

    def __init__(self, db_name: str) -> None:
        self.db_name = db_name

    @property
    def auth_headers(self) -> dict[str, str]:
        """
        The headers of requests to the store: a token, which is new each time.

        Raises:
            KVStoreException: No server runs this process, or it gives no token.
        """
        server = find_server()
        if server is None:
            raise KVStoreException("No server runs this process that would take headers.")
        return {"Authorization": _authorize(server)}

    def get(self, key: str) -> str | None:
        """
        Return the value of *key*, or None if it has none.

        Raises:
            KVStoreException: The store cannot be reached.
        """
        server = find_server()
        if server is not None:
            answer = self._send(server, "GET", "get", key)
            return None if answer is None else str(answer["value"])
        with _open() as values:
            where = "db = ? AND key = ? AND expires > ?"
            row = values.execute(
                f"SELECT value FROM pairs WHERE {where}", (self.db_name, key, time.time())
            ).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, value: str, ttl: int | None = None) -> None:
        """
        Store a value.

        Arguments:
            ttl: How many seconds it is kept: 60 to 2,592,000, which is the default.

        Raises:
            KVStoreException: It cannot be stored.
        """
        seconds = _MOST if ttl is None else ttl
        if not _LEAST <= seconds <= _MOST:
            raise KVStoreException(
                f"A ttl has to be between {_LEAST} and {_MOST} seconds, not {ttl!r}."
            )
        server = find_server()
        if server is not None:
            query = "" if ttl is None else f"?ttl={ttl}"
            self._send(server, "PUT", "set", key, query, value.encode())
            return
        now = time.time()
        with _open() as values:
            values.execute("DELETE FROM pairs WHERE expires <= ?", (now,))
            row = (self.db_name, key, value, now + seconds)
            values.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?)", row)

    def delete(self, key: str) -> None:
        """
        Remove the value of *key*, if it has one.

        Raises:
            KVStoreException: The store cannot be reached.
        """
        server = find_server()
        if server is not None:
            self._send(server, "DELETE", "delete", key)
            return
        with _open() as values:
            values.execute("DELETE FROM pairs WHERE db = ? AND key = ?", (self.db_name, key))

    def _send(
        self,
        server: FileServer,
        method: str,
        verb: str,
        key: str,
        query: str = "",
        data: bytes | None = None,
    ) -> dict[str, object] | None:
        host = _HOSTED.get(server.address, server.address)
        names = "/".join(urllib.parse.quote(each, safe="") for each in (self.db_name, key))
        headers = {"Authorization": _authorize(server), "Accept": "application/json"}
        request = urllib.request.Request(
            f"https://{host}/{verb}/{names}{query}", data, headers, method=method
        )
        answer = _ask(request, f"Store {self.db_name!r}, key {key!r}")
        return answer if isinstance(answer, dict) else None


def _authorize(server: FileServer) -> str:
    """Return credentials of the store: a token, which the key of the runner gets."""
    url = f"https://{server.address}/storage/auth/token?storage_type=fal-cdn-v3"
    headers = {"Authorization": f"Key {server.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, b"{}", headers, method="POST")
    told = _ask(request, "The token of the store")
    if not isinstance(told, dict) or "token" not in told:
        raise KVStoreException("The server gives no token for its key-value store.")
    return f"{told['token_type']} {told['token']}"


def _ask(request: urllib.request.Request, what: str) -> object:
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:
            body = response.read(64 << 20)
            return json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404 and request.method in ("GET", "DELETE"):
                return None
            said = error.read(4096).decode(errors="replace")
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(said).get("error") or said
        raise KVStoreException(f"{what}: {error.code}: {said or error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise KVStoreException(f"{what}: the server cannot be reached: {error}.") from error


@contextlib.contextmanager
def _open() -> Iterator[sqlite3.Connection]:
    path = find_place(_FILE)
    try:
        os.makedirs(path.parent, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_SECONDS)
        try:
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS pairs (db TEXT, key TEXT, value TEXT, "
                    "expires REAL, PRIMARY KEY (db, key))"
                )
                yield connection
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise KVStoreException(f"The key-value store at {path} failed: {error}.") from error
