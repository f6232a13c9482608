"""What ``fal-core doctor`` checks about servers."""

from __future__ import annotations

from fal_core.checks import Check, Finding
from fal_core.errors import FalCoreError
from fal_core_worker.serving import networks
from fal_server.settings import default_data
from fal_server.state.data_directories import DataDirectory


def health_checks() -> list[Check]:
    """Return the checks of this plugin."""
    database = find_database()
    checks = [Check("ports of runners", check_ports)]
    if database is not None:
        checks.append(Check("replicas of the server", lambda: check_replicas(database)))
    return checks


def find_database() -> str | None:
    """
    Return the database that the server on the usual data directory shares with others, if one
    has run there.
    """
    directory = default_data()
    return DataDirectory(directory).read_database() if directory.exists() else None


def check_replicas(database: str) -> Finding:
    """Check that clocks, versions and addresses of the servers on a database fit together."""
    from sqlalchemy.exc import SQLAlchemyError

    from fal_server.claims.findings import find_problems, read_all

    try:
        found, claim = read_all(database)
    except (SQLAlchemyError, FalCoreError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        return Finding(
            False, f"Their database cannot be read: {reason}. Start it, or look at its URL."
        )
    problems = find_problems(found, claim)
    if problems:
        return Finding(False, " ".join(problems))
    count = sum(each.is_alive for each in found)
    return Finding(True, f"{count} run, and their clocks, versions and addresses fit.")


def check_ports() -> Finding:
    """Check that an application can have a network of its own on this machine."""
    problem = networks.missing()
    if problem:
        return Finding(
            False,
            f"{problem} Until then every user of this machine reaches the ports of "
            "applications that a server runs here, so that it refuses those that are not "
            "public unless it is started with '--allow-open-runners'. Applications of "
            "fal-serve need no ports.",
        )
    return Finding(True, "Applications have networks of their own, whose ports nobody reaches.")
