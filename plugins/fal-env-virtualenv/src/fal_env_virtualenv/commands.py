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
from fal_env_virtualenv import store
from fal_env_virtualenv.files import describe_failure

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
        if match is None:
            self.fail(f"{value!r} is no size. Write it as in 500MB or 2GB.", param, ctx)
        number, unit, binary = match[1], match[2].upper(), match[3]
        if binary and not unit:
            self.fail(f"{value!r} is no size. Write it as in 500MB or 2GB.", param, ctx)
        return int(float(number) * (_BINARY_UNITS if binary else _UNITS)[unit])


def _tried(work: Callable[[], ReturnT]) -> ReturnT:
    """
    Return what *work* returns; its failure is one sentence and exit code 1.
    """
    try:
        return work()
    except FalCoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(describe_failure(error)) from error


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _age(since: float) -> str:
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _wanted(entry: store.Entry) -> str:
    layers = (" ".join(layer) for layer in entry.requirements)
    return " | ".join(layers) or "(none)"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """
    Print *rows* in columns, the last one as long as it is.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


@click.group()
def env() -> None:
    """
    Look after the virtual environments that are kept.
    """


@env.command(name="list")
@_as_json
def list_(as_json: bool) -> None:
    """
    List the environments, the last used first.
    """
    listed = _tried(store.entries)
    if as_json:
        _print_json([attrs.asdict(entry) for entry in listed])
        return
    if not listed:
        click.echo("No environment has been built yet.")
        return
    rows = [("KEY", "PYTHON", "SIZE", "CREATED", "USED", "STATE", "REQUIREMENTS")]
    for entry in listed:
        state = "in use" if entry.in_use else "damaged" if entry.fault else "ready"
        ages = (_age(entry.created), _age(entry.last_used))
        size = _size(entry.size)
        rows.append((entry.key[:12], entry.python_version, size, *ages, state, _wanted(entry)))
    _print_table(rows)


@env.command()
@click.option(
    "--max-size", type=_Size(), help="What may remain, as in 500MB or 2GB. Otherwise all."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@_as_json
def gc(max_size: int | None, dry_run: bool, as_json: bool) -> None:
    """
    Remove the environments unused for longest, none that is in use.

    Damaged ones and what killed builds left are removed in any case.
    """
    removal = _tried(lambda: store.collect(max_size, dry_run=dry_run))
    if as_json:
        _print_json({"dry_run": dry_run, **attrs.asdict(removal)})
        return
    verb = "Would remove" if dry_run else "Removed"
    for entry in removal.entries:
        click.echo(f"{verb} {entry.key[:12]} ({_size(entry.size)}): {_wanted(entry)}")
    verb = "Would free" if dry_run else "Freed"
    click.echo(f"{verb} {_size(removal.freed)}; {_size(removal.kept)} remain.")


@env.command()
@click.argument("keys", nargs=-1)
@_as_json
def verify(keys: Sequence[str], as_json: bool) -> None:
    """
    Check the environments of KEYS, all where none is given.
    """
    chosen = _tried(
        lambda: [store.find_entry(key) for key in keys] if keys else store.entries()
    )
    found = _tried(lambda: {entry.key: store.verify(entry) for entry in chosen})
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
    Build the environment of KEY once more, as it was first resolved.
    """

    def log(line: Log) -> None:
        click.echo(line.message, err=True)

    entry = _tried(lambda: store.rebuild(key, log, Event()))
    if as_json:
        _print_json(attrs.asdict(entry))
    else:
        click.echo(f"Built {entry.key[:12]} at {entry.path}.")
