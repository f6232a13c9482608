"""All tables of the database, for code that opens it without the whole server."""

from __future__ import annotations

from collections.abc import Collection

from fal_server.activity import deployment_records, measurements
from fal_server.claims import arrivals, claims, commit_marks, kept_keys, replicas
from fal_server.key_values import stored_values
from fal_server.logs import kept_lines, log_lines
from fal_server.store import (
    accounts,
    idempotency_keys,
    keys,
    queued_requests,
    revisions,
    runner_records,
    stages,
    uploads,
    vaults,
)

#: The modules that declare tables.
MODULES = (
    accounts,
    arrivals,
    claims,
    commit_marks,
    deployment_records,
    idempotency_keys,
    keys,
    kept_keys,
    kept_lines,
    log_lines,
    measurements,
    queued_requests,
    replicas,
    revisions,
    runner_records,
    stages,
    stored_values,
    uploads,
    vaults,
)


def table_names() -> Collection[str]:
    """Return the names of all tables."""
    return frozenset(MODULES[0].metadata.tables)
