"""Referenced files: those of the store of files that the state names."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from fal_server.store.queued_requests import UNFINISHED, name_answer, name_body, requests
from fal_server.store.uploads import app_files, stored_files

#: The folders of the store.
CONTENTS, BODIES = "blobs", "requests"


def find_referenced(connection: sa.Connection) -> Mapping[str, int]:
    """Return the names of the files, each with its size in bytes."""
    found: dict[str, int] = {}
    for digest, size in (
        (app_files.c.hash, app_files.c.size),
        (stored_files.c.digest, stored_files.c.size),
    ):
        for hash, bytes_of_it in connection.execute(sa.select(digest, size)):
            found[f"{CONTENTS}/contents/{hash[:2]}/{hash}"] = bytes_of_it
    columns = (requests.c.id, requests.c.attempts, requests.c.body_size, requests.c.answer_size)
    waits = requests.c.state.in_(UNFINISHED) & _is_in_file(requests.c.body)
    answered = (requests.c.state == "completed") & _is_in_file(requests.c.answer)
    for row in connection.execute(sa.select(*columns).where(waits, requests.c.body_size > 0)):
        found[f"{BODIES}/{name_body(row.id)}"] = row.body_size
    has_answer = requests.c.answer_size > 0
    for row in connection.execute(sa.select(*columns).where(answered, has_answer)):
        found[f"{BODIES}/{name_answer(row.id, row.attempts)}"] = row.answer_size
    return found


def _is_in_file(column: sa.Column[bytes]) -> sa.ColumnElement[bool]:
    return sa.func.coalesce(sa.func.length(column), 0) == 0
