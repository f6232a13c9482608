"""Databases: a PostgreSQL for a server, as durable as its file of SQLite."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_TESTS = Path(__file__).parents[1] / "plugins/fal-server/tests/postgresql_servers.py"


def load_servers() -> ModuleType:
    """Return the module of the tests that starts a PostgreSQL."""
    spec = importlib.util.spec_from_file_location("postgresql_servers", _TESTS)
    assert spec is not None
    assert spec.loader is not None
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    return servers


@contextmanager
def database(kind: str) -> Iterator[tuple[str, ...]]:
    """Yield the options with which a server uses a database of a kind."""
    if kind == "sqlite":
        yield ()
        return
    servers = load_servers()
    reason = servers.missing()
    if reason is not None:
        raise RuntimeError(reason)
    server = servers.PostgreSQL("fsync=on", "full_page_writes=on", "shared_buffers=128MB")
    try:
        yield ("--database", server.make_empty())
    finally:
        server.close()
