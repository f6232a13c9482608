"""``fal-core server replicas``: the servers on one database, and which of them decides."""

from __future__ import annotations

from pathlib import Path

import click

from fal_core.cli import print_json
from fal_server.commands.options import data_option, database_option, json_option
from fal_server.settings import default_data


@click.command("replicas")
@data_option
@database_option
@json_option
def replicas(data: Path | None, database: str | None, as_json: bool) -> None:
    """
    List the servers on one PostgreSQL, and which of them decides.

    What does not fit together is told below: clocks, versions, addresses. The database is that
    of the server on the directory unless another is given.

    \b
    Example:
      fal-core server replicas --database postgresql://fal@db.example.com/fal
    """
    from sqlalchemy.exc import SQLAlchemyError

    from fal_server.claims.findings import find_problems, read_all
    from fal_server.state.data_directories import DataDirectory

    directory = (data or default_data()).absolute()
    url = database
    if url is None and directory.exists():
        url = DataDirectory(directory).read_database()
    if url is None:
        raise click.ClickException(
            f"No server on {directory} has a database that it shares with others. Name the "
            "database by '--database'."
        )
    try:
        found, claim = read_all(url)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise click.ClickException(f"The database cannot be read: {reason}.") from error
    problems = find_problems(found, claim)
    if as_json:
        rows = [
            {
                "id": each.id,
                "decides": each.id == claim.holder,
                "alive": each.is_alive,
                "address": each.origin("api"),
                "version": each.version,
                "clock": round(each.clock, 3),
                "silence": round(each.silence, 3),
            }
            for each in found
        ]
        print_json({"replicas": rows, "problems": problems})
        return
    for each in found:
        does = "decides" if each.id == claim.holder else "follows"
        does = does if each.is_alive else f"silent for {each.silence:.0f} s"
        clock = f"clock {-each.clock:+.1f} s"
        click.echo(f"{each.id}  {each.origin('api')}  {each.version}  {clock}  {does}")
    for problem in problems:
        click.echo(problem, err=True)
    if not found:
        click.echo("No server runs on this database.")
