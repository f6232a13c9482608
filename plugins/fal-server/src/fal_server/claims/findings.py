"""Findings: whether the clocks, the versions and the addresses of replicas fit together."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import sqlalchemy as sa

from fal_server.claims.claims import APPLICATIONS, Claim, claims, read_claim
from fal_server.claims.replicas import Replica, read_replicas
from fal_server.state.database_urls import make_engines

#: Seconds by which a clock may be wrong without notice: what replicas compare is corrected,
#: and what they show to people and to other services is not.
_WRONG = 2.0

#: Seconds for a connection with a replica.
_PATIENCE = 3.0


def read_all(url: str) -> tuple[Sequence[Replica], Claim]:
    """
    Return the replicas on the database at *url*, and the claim to decide.

    Raises:
        SQLAlchemyError: It cannot be read.
    """

    def read(connection: sa.Connection) -> tuple[Sequence[Replica], Claim]:
        if not sa.inspect(connection).has_table(claims.name):
            return (), Claim(token=0, holder="", is_ready=False, expires_in=0.0)
        return read_replicas(connection), read_claim(connection, APPLICATIONS)

    engines = make_engines(url, readers=1)
    try:
        return engines.read(read)
    finally:
        engines.dispose()


def find_problems(replicas: Sequence[Replica], claim: Claim) -> list[str]:
    """Return what is wrong with replicas, as sentences."""
    alive = [each for each in replicas if each.is_alive]
    problems: list[str] = []
    for each in alive:
        if abs(each.clock) > _WRONG:
            side = "behind" if each.clock > 0 else "ahead of"
            problems.append(
                f"The clock of {each.id} is {abs(each.clock):.1f} s {side} that of the "
                "database: have it set by NTP."
            )
        if not _is_reached(each):
            problems.append(
                f"{each.id} cannot be reached at {each.origin('api')} from here: start it "
                "with '--advertise' and an address that the other replicas reach, or open "
                "its ports to them."
            )
    versions = sorted({each.version for each in alive})
    if len(versions) > 1:
        problems.append(
            f"The replicas have different versions of fal-server ({', '.join(versions)}): "
            "bring all of them to the newest."
        )
    if alive and not (claim.is_ready and claim.expires_in > 0):
        problems.append("No replica decides at present: look again in a few seconds.")
    return problems


def _is_reached(replica: Replica) -> bool:
    try:
        socket.create_connection((replica.address, replica.ports["api"]), _PATIENCE).close()
    except OSError:
        return False
    return True
