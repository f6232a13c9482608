"""
The commands ``fal-core env …``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from fal_core.errors import FalCoreError
from fal_core.events import Log
from fal_core.stores import StoredEntry, describe_disk_error, prune
from fal_env_virtualenv.building import builds, verification
from fal_env_virtualenv.store.environments import STORE
from fal_env_virtualenv.store.listing import find_stored, list_environments
from fal_uv.running.uv_cache import UvCache

ReturnT = TypeVar("ReturnT")

if TYPE_CHECKING:
    _ParamType = click.ParamType[int]
else:
    _ParamType = click.ParamType

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


class _Size(_ParamType):
    """
    A number of bytes, as in ``2GB``.
    """

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or (match[3] and not match[2]):
            self.fail(f"{value!r} is not a size. Write it as in 500MB or 2GB.", param, ctx)
        number, unit, binary = match[1], match[2].upper(), match[3]
        return int(float(number) * (_BINARY_UNITS if binary else _UNITS)[unit])


def _run(work: Callable[[], ReturnT]) -> ReturnT:
    """
    Return what *work* returns; an error becomes a sentence on standard error and exit code 1.
    """
    try:
        return work()
    except FalCoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(describe_disk_error(error)) from error


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _format_size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _format_age(since: float) -> str:
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _format_requirements(environment: StoredEntry) -> str:
    return environment.summary or "(none)"


def _format_state(environment: StoredEntry) -> str:
    if environment.in_use:
        return "in use"
    return "damaged" if environment.fault else "ready"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """
    Print *rows* in columns.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


@click.group()
def env() -> None:
    """
    List, remove, verify and rebuild virtual environments.
    """


@env.command(name="list")
@_as_json
def list_(as_json: bool) -> None:
    """
    List the environments, the most recently used first.
    """
    listed = _run(list_environments)
    if as_json:
        _print_json([attrs.asdict(environment) for environment in listed])
        return
    if not listed:
        click.echo("No environment has been built yet.")
        return
    rows = [("KEY", "PYTHON", "SIZE", "CREATED", "USED", "STATE", "REQUIREMENTS")]
    for environment in listed:
        rows.append(
            (
                environment.key[:12],
                environment.details["python_version"],
                _format_size(environment.size),
                _format_age(environment.created),
                _format_age(environment.last_used),
                _format_state(environment),
                _format_requirements(environment),
            )
        )
    _print_table(rows)


@env.command()
@click.option(
    "--max-size", type=_Size(), help="How much may remain, as in 500MB or 2GB. By default, all."
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be removed, without removing it."
)
@_as_json
def gc(max_size: int | None, dry_run: bool, as_json: bool) -> None:
    """
    Remove the least recently used environments, but none that is in use.

    Damaged environments and leftovers of killed builds are removed in any case.
    """
    removal = _run(lambda: prune([STORE, UvCache()], max_size=max_size, dry_run=dry_run))
    if as_json:
        _print_json({"dry_run": dry_run, **attrs.asdict(removal)})
        return
    verb = "Would remove" if dry_run else "Removed"
    for environment in removal.entries:
        size, requirements = _format_size(environment.size), _format_requirements(environment)
        click.echo(f"{verb} {environment.key[:12]} ({size}): {requirements}")
    verb = "Would free" if dry_run else "Freed"
    click.echo(f"{verb} {_format_size(removal.freed)}; {_format_size(removal.kept)} remain.")


@env.command()
@click.argument("keys", nargs=-1)
@_as_json
def verify(keys: Sequence[str], as_json: bool) -> None:
    """
    Check the environments of KEYS; without KEYS, all of them.
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


@env.command()
@click.argument("key")
@_as_json
def rebuild(key: str, as_json: bool) -> None:
    """
    Build the environment of KEY again, with the versions that were resolved first.
    """

    def log(line: Log) -> None:
        click.echo(line.message, err=True)

    record = _run(lambda: builds.rebuild(key, log, Event()))
    if as_json:
        _print_json(attrs.asdict(find_stored(record.key)))
    else:
        click.echo(f"Built {record.key[:12]} at {record.path}.")
