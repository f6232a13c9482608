"""Rows of tables in an archive: a line of JSON for each, some in each member."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import sqlalchemy as sa

#: About how many bytes of rows one member has.
_PART = 4 << 20

#: How many rows are in memory at once.
_ROWS = 200


def read_parts(connection: sa.Connection, table: sa.Table) -> Iterator[bytes]:
    """Yield all rows of a table in parts, each as the content of a member."""
    binary = _binary_columns(table)
    lines: list[bytes] = []
    size = 0
    query = sa.select(table).order_by(*table.primary_key)
    for row in connection.execution_options(yield_per=_ROWS).execute(query):
        values = dict(row._mapping)
        for name in binary:
            if values[name] is not None:
                values[name] = base64.b64encode(values[name]).decode()
        lines.append(json.dumps(values).encode() + b"\n")
        size += len(lines[-1])
        if size >= _PART:
            yield b"".join(lines)
            lines.clear()
            size = 0
    if lines:
        yield b"".join(lines)


def write_part(connection: sa.Connection, table: sa.Table, content: bytes) -> int:
    """Insert the rows of one part, and return how many they were."""
    binary = _binary_columns(table)
    rows = [json.loads(line) for line in content.splitlines()]
    for row in rows:
        for name in binary:
            if row[name] is not None:
                row[name] = base64.b64decode(row[name])
    for start in range(0, len(rows), _ROWS):
        connection.execute(table.insert(), rows[start : start + _ROWS])
    return len(rows)


def _binary_columns(table: sa.Table) -> list[str]:
    return [each.name for each in table.columns if isinstance(each.type, sa.LargeBinary)]
