"""
Arrivals: queued requests that a replica has accepted which does not decide.

The request and its arrival are stored together. The replica that decides takes arrivals in;
one that begins to decide finds all requests without a response anyway.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from fal_server.state.databases import metadata

arrivals = sa.Table("arrivals", metadata, sa.Column("request_id", sa.String, primary_key=True))

#: The most arrivals that are taken in at once.
MOST = 500


def adding_arrival(requests: sa.Table) -> sa.Insert:
    """Return the statement that stores a request and its arrival together."""
    values: dict[str, Any] = {it.name: sa.bindparam(it.name) for it in requests.c}
    added = requests.insert().values(values).returning(requests.c.id).cte("added")
    return arrivals.insert().from_select(["request_id"], sa.select(added.c.id))


def has_arrivals(connection: sa.Connection) -> bool:
    """Return whether there are any."""
    return connection.scalar(sa.select(arrivals.c.request_id).limit(1)) is not None


def take_arrivals(connection: sa.Connection) -> list[str]:
    """Take some arrivals, and return the ids of their requests."""
    some = sa.select(arrivals.c.request_id).limit(MOST).with_for_update(skip_locked=True)
    taken = arrivals.delete().where(arrivals.c.request_id.in_(some))
    return list(connection.scalars(taken.returning(arrivals.c.request_id)))
