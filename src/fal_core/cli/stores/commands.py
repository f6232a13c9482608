"""The commands ``fal-core env …`` of the core: lists, sizes, and what is removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Event

import attrs
import click

from fal_core.abilities import LockingEnvironment
from fal_core.cli.outputs import complain, print_json
from fal_core.cli.shells.candidates import complete_target
from fal_core.cli.stores.units import Age, Size, format_age
from fal_core.cli.tables import print_table
from fal_core.errors import FalCoreError, OptionError
from fal_core.events import Log
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import TargetError, load_target
from fal_core.reprs import in_one_line, show_size
from fal_core.stores import Store, StoredEntry, describe_disk_error, entries_of, prune


@click.command()
@click.argument("target", metavar="FILE.PY::NAME", shell_complete=complete_target)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The lock to write. By default pylock.toml, or conda.lock for kind 'conda'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def lock(target: str, output: Path | None, as_json: bool) -> None:
    """
    Write down which packages the environment of a function has.

    The environment is built if it is not. The requirements of a function may name a
    pylock.toml, and env_yml a conda.lock; the explicit list beside that is for conda.

    \b
    Example:
      fal-core env lock words.py::words
    """
    # The other commands of the group need nothing of calls.
    from fal_core.calling import environment_for

    try:
        function = with_own_block(load_target(target))
        environment = environment_for(function.options, function.host)
        if not isinstance(environment, LockingEnvironment):
            raise OptionError(
                f"{target} has an environment of kind {environment.kind!r}, for which no lock "
                "is written."
            )
        place = output or Path(environment.lock_name)
        files = {
            place.with_name(f"{place.stem}{ending}") if ending else place: text
            for ending, text in environment.lock(_log, Event()).items()
        }
        for path, text in files.items():
            path.write_text(text, "utf-8")
    except TargetError as error:
        raise click.UsageError(str(error)) from error
    except FalCoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
    if as_json:
        print_json({"files": [str(path) for path in files]})
    else:
        click.echo(f"Wrote {' and '.join(map(str, files))}.")


def _log(line: Log) -> None:
    click.echo(line.message, err=True)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
_kinds = click.option(
    "--kind", "kinds", multiple=True, help="Only of this kind of environment. May be repeated."
)
#: How much of a key is shown.
_KEY = 12


@click.group(short_help="Look at environments on this machine, and remove them.")
def env() -> None:
    """Look at what environments have left on this machine, and remove it."""


env.add_command(lock)


@env.command(name="list")
@_kinds
@_as_json
def list_(kinds: Sequence[str], as_json: bool) -> None:
    """
    List what was built, the most recently used first.

    The caches of builders are left out; 'fal-core env du' has them too.

    \b
    Example:
      fal-core env list --kind virtualenv
    """
    failures = Failures()
    stores = find_stores(kinds, failures)
    stores = [store for store in stores if store.category != "caches"]
    entries = [entry for _, entry in entries_of(stores, on_error=failures.of_store)]
    entries.sort(key=lambda entry: entry.last_used, reverse=True)
    if as_json and (entries or not failures):
        print_json([attrs.asdict(entry) for entry in entries])
    elif entries:
        headings = ("KIND", "KEY", "SIZE", "CREATED", "USED", "STATE", "WHAT")
        print_table(headings, [_row(entry) for entry in entries], breaks_last=True)
    elif not failures:
        click.echo("No environment has been built yet.")
    failures.leave()


@env.command(name="prune")
@click.option(
    "--max-size", type=Size(), help="How much may remain, as in 500MB or 2GB. By default, all."
)
@click.option(
    "--unused-for",
    type=Age(),
    help="Remove what was not used for this long, as in 12h, 30d or 4w.",
)
@_kinds
@click.option(
    "--dry-run", is_flag=True, help="Print what would be removed, without removing it."
)
@_as_json
def prune_(
    max_size: int | None,
    unused_for: float | None,
    kinds: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """
    Remove what was not used for longest, but nothing that is in use.

    What is damaged, and leftovers of killed builds, are removed in any case. What
    fal-core has not made stays.

    \b
    Example:
      fal-core env prune --max-size 20GB --unused-for 30d
    """
    failures = Failures()
    pruned = prune(
        find_stores(kinds, failures),
        max_size=max_size,
        unused_for=unused_for,
        dry_run=dry_run,
        on_error=failures.of_store,
    )
    if failures and not pruned.freed:
        pass  # What has failed is all there is to say.
    elif as_json:
        print_json({"dry_run": dry_run, **attrs.asdict(pruned)})
    else:
        verb = "Would remove" if dry_run else "Removed"
        for entry in pruned.entries:
            what = f"{entry.kind} {_short(entry.key)} ({show_size(entry.size)})"
            click.echo(f"{verb} {what}: {entry.summary or '(empty)'}")
        verb = "Would free" if dry_run else "Freed"
        kept = show_size(pruned.kept)
        click.echo(f"{verb} {show_size(pruned.freed)}; {kept} remain.")
    failures.leave()


@env.command()
@_kinds
@_as_json
def du(kinds: Sequence[str], as_json: bool) -> None:
    """
    Print how much each kind keeps on the disk, caches included.

    Files that several environments share count for each of them.

    \b
    Example:
      fal-core env du
    """
    failures = Failures()
    rows = []
    for store in find_stores(kinds, failures):
        entries = [entry for _, entry in entries_of([store], on_error=failures.of_store)]
        rows.append(
            {
                "kind": store.kind,
                "category": store.category,
                "entries": len(entries),
                "size": sum(entry.size for entry in entries),
                "last_used": max((entry.last_used for entry in entries), default=None),
                "shared": store.is_shared,
            }
        )
    if as_json:
        print_json(rows)
    elif rows:
        headings = ("KIND", "WHAT", "COUNT", "SIZE", "USED", "REMOVED BY PRUNE")
        print_table(headings, [_sum(row) for row in rows])
    elif not failures:
        click.echo("No installed kind of environment keeps anything.")
    failures.leave()


def _row(entry: StoredEntry) -> tuple[str, ...]:
    state = "in use" if entry.in_use else "damaged" if entry.fault else "ready"
    return (
        entry.kind,
        _short(entry.key),
        show_size(entry.size),
        format_age(entry.created),
        format_age(entry.last_used),
        state,
        entry.summary or "(empty)",
    )


def _sum(row: dict[str, object]) -> tuple[str, ...]:
    used = row["last_used"]
    return (
        str(row["kind"]),
        str(row["category"]),
        str(row["entries"]),
        show_size(float(str(row["size"]))),
        format_age(used) if isinstance(used, float) else "never",
        "leftovers alone" if row["shared"] else "yes",
    )


def _short(key: str) -> str:
    """Return *key*, or the beginning of a digest."""
    is_digest = len(key) > 2 * _KEY and all(letter in "0123456789abcdef" for letter in key)
    return key[:_KEY] if is_digest else key


@attrs.define
class Failures:
    """What could not be asked, each said once on standard error."""

    _said: set[str] = attrs.field(factory=set, init=False)

    def __bool__(self) -> bool:
        return bool(self._said)

    def say(self, sentence: str) -> None:
        """Print *sentence*, unless another store has failed in the same way."""
        if sentence not in self._said:
            self._said.add(sentence)
            complain(sentence)

    def of_store(self, store: Store, error: Exception) -> None:
        """Print what *store* has raised."""
        if isinstance(error, FalCoreError):
            self.say(str(error))
        elif isinstance(error, OSError):
            self.say(describe_disk_error(error))
        else:
            said = f"{type(error).__name__}: {in_one_line(error)}"
            self.say(f"The {store.category} of kind {store.kind!r} cannot be asked: {said}.")

    def leave(self) -> None:
        """End the command with exit code 1 if anything has failed."""
        if self:
            raise click.exceptions.Exit(1)


def find_stores(kinds: Collection[str], failures: Failures) -> list[Store]:
    """
    Return the stores of all plugins, each once.

    Arguments:
        kinds: Those whose stores are wanted; empty for all.

    Raises:
        UsageError: There is no store of one of *kinds*.
    """
    from fal_core.plugins.installed import load_plugins

    found: list[Store] = []
    for name, ask in load_plugins().hooks.each("fal_register_stores"):
        try:
            answers = [each for answer in ask() for each in answer]
        except Exception as error:
            failures.say(f"Plugin {name!r} cannot name its stores: {in_one_line(error)}.")
            continue
        for answer in answers:
            if not isinstance(answer, Store):
                failures.say(f"Plugin {name!r} names {answer!r} as a store, which it is not.")
            elif answer not in found:
                found.append(answer)
    known = sorted({store.kind for store in found})
    for kind in kinds:
        if kind not in known:
            raise click.UsageError(
                f"There is nothing of kind {kind!r}. There are: {', '.join(known) or 'none'}."
            )
    return [store for store in found if not kinds or store.kind in kinds]
