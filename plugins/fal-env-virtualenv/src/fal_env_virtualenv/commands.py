"""The commands ``fal-core env verify`` and ``rebuild``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

import attrs
import click

from fal_core.errors import FalCoreError
from fal_core.events import Log
from fal_core.stores import describe_disk_error
from fal_env_virtualenv.building import builds, verification
from fal_env_virtualenv.store.listing import find_stored, list_environments

ReturnT = TypeVar("ReturnT")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def _run(work: Callable[[], ReturnT]) -> ReturnT:
    """Return what *work* returns; an error becomes a sentence on standard error and exit code 1."""
    try:
        return work()
    except FalCoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(describe_disk_error(error)) from error


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


@click.command(short_help="Check virtual environments for damage.")
@click.argument("keys", nargs=-1)
@_as_json
def verify(keys: Sequence[str], as_json: bool) -> None:
    """
    Check the virtual environments of KEYS; without KEYS, all of them.

    \b
    Example:
      fal-core env verify
    """
    chosen = _run(lambda: [find_stored(key) for key in keys] if keys else list_environments())
    found = _run(lambda: {each.key: verification.verify(each.key) for each in chosen})
    if as_json:
        _print_json(found)
    else:
        for key, problems in found.items():
            click.echo(f"{key[:12]}  {'damaged' if problems else 'ok'}")
            for problem in problems:
                click.echo(f"  {problem}")
            if problems:
                click.echo(f"  Run 'fal-core env rebuild {key[:12]}'.")
    if any(found.values()):
        raise click.exceptions.Exit(1)


@click.command(short_help="Build a virtual environment again.")
@click.argument("key")
@_as_json
def rebuild(key: str, as_json: bool) -> None:
    """
    Build the virtual environment of KEY again, with the versions that were resolved first.

    \b
    Example:
      fal-core env rebuild bb0c79b5dd27
    """

    def log(line: Log) -> None:
        click.echo(line.message, err=True)

    record = _run(lambda: builds.rebuild(key, log, Event()))
    if as_json:
        _print_json(attrs.asdict(find_stored(record.key)))
    else:
        click.echo(f"Built {record.key[:12]} at {record.path}.")
