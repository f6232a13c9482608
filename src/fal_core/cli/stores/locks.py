"""
``fal-core env lock``: write down what the environment of a function has in it.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

import click

from fal_core.abilities import LockingEnvironment
from fal_core.cli.outputs import print_json
from fal_core.cli.shells.candidates import complete_target
from fal_core.errors import FalCoreError, OptionError
from fal_core.events import Log
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import TargetError, load_target


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
