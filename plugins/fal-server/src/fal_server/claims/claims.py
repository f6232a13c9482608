"""
Claims: what one of several servers on a database holds for a while, and may hold again.

A claim has a token, which grows each time that it is taken. All that its holder writes is
written with a check of the token, in the same transaction, so that a holder which stood still
for too long, and whose claim was taken, changes nothing any more. All times are those of the
clock of the database.
"""

from __future__ import annotations

from typing import Literal

import attrs
import sqlalchemy as sa

from fal_server.errors import Fenced
from fal_server.state.databases import metadata

#: The claim to run the applications of a database.
APPLICATIONS = "applications"

#: Seconds for which a claim is held unless it is renewed, and between two renewals.
LEASE, RENEWAL = 3.0, 1.0

#: The channel of notifications, and what they are about.
CHANNEL = "fal_core"
Subject = Literal["claims", "arrivals"]

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.String, nullable=False),
    #: Whether the holder has read the state, and answers.
    sa.Column("is_ready", sa.Boolean, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

#: The time of the database, in seconds since the epoch.
NOW = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)


@attrs.frozen(kw_only=True)
class Claim:
    """
    The state of a claim.

    Attributes:
        holder: The id of the replica that holds it. Empty where none does.

        expires_in: Seconds until it can be taken.
    """

    token: int
    holder: str
    is_ready: bool
    expires_in: float


def add_claim(connection: sa.Connection, name: str) -> None:
    """Make a claim that nobody holds, unless there is one of that name."""
    from sqlalchemy.dialects.postgresql import insert

    row = {"name": name, "token": 0, "holder": "", "is_ready": False, "expires_at": 0.0}
    connection.execute(insert(claims).values(row).on_conflict_do_nothing())


def take_claim(connection: sa.Connection, name: str, holder: str) -> int | None:
    """
    Take a claim that nobody holds any more, and return its token. None where somebody does,
    or takes it at this moment.
    """
    is_free = sa.or_(claims.c.holder == "", claims.c.expires_at < NOW)
    free = sa.select(claims.c.name).where(claims.c.name == name, is_free)
    changes = {
        "token": claims.c.token + 1,
        "holder": holder,
        "is_ready": False,
        "expires_at": NOW + LEASE,
    }
    taken = claims.update().where(claims.c.name.in_(free.with_for_update(skip_locked=True)))
    token: int | None = connection.scalar(taken.values(changes).returning(claims.c.token))
    return token


def renew_claim(
    connection: sa.Connection, name: str, holder: str, token: int, *, is_ready: bool
) -> bool:
    """Hold a claim for longer, and return False where another one has taken it."""
    changed = claims.update().where(_is_held(name, holder, token))
    values = {"expires_at": NOW + LEASE, "is_ready": is_ready}
    return bool(connection.execute(changed.values(values)).rowcount)


def give_claim_back(connection: sa.Connection, name: str, holder: str, token: int) -> None:
    """Let others take a claim at once."""
    changed = claims.update().where(_is_held(name, holder, token))
    connection.execute(changed.values(holder="", is_ready=False, expires_at=0.0))
    notify(connection)


def read_claim(connection: sa.Connection, name: str) -> Claim:
    """Return the state of a claim, which nobody may have made yet."""
    left = (claims.c.expires_at - NOW).label("left")
    columns = (claims.c.token, claims.c.holder, claims.c.is_ready, left)
    row = connection.execute(sa.select(*columns).where(claims.c.name == name)).first()
    if row is None:
        return Claim(token=0, holder="", is_ready=False, expires_in=0.0)
    return Claim(token=row.token, holder=row.holder, is_ready=row.is_ready, expires_in=row.left)


def notify(connection: sa.Connection, subject: Subject = "claims") -> None:
    """Wake the other servers once the transaction is committed."""
    connection.execute(sa.select(sa.func.pg_notify(CHANNEL, subject)))


@attrs.frozen
class Fence:
    """
    Refuses what is written without the claim: what a transaction writes that has passed is
    there before another server takes the claim.
    """

    name: str
    holder: str
    token: int

    def __call__(self, connection: sa.Connection) -> None:
        """
        Check that the claim is held.

        Raises:
            Fenced: It is not.
        """
        held = sa.select(claims.c.token).where(_is_held(self.name, self.holder, self.token))
        # Renewals go on beside this lock, and a server that takes the claim waits for it.
        if connection.scalar(held.with_for_update(read=True, key_share=True)) is None:
            refuse_writes(connection)


def refuse_writes(_: sa.Connection) -> None:
    """
    Refuse what a server writes that does not decide.

    Raises:
        Fenced: Always.
    """
    raise Fenced("Another replica of the server decides now: send the request again.")


def _is_held(name: str, holder: str, token: int) -> sa.ColumnElement[bool]:
    is_it = sa.and_(claims.c.name == name, claims.c.token == token)
    return sa.and_(is_it, claims.c.holder == holder)
