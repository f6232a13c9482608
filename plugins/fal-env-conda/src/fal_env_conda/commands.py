"""
The command ``fal-core env lock``.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

import click

from fal_core.cli import complete_target, print_json
from fal_core.errors import FalCoreError, OptionError
from fal_core.events import Log
from fal_core.loading import TargetError, load_target
from fal_env_conda.kinds import Conda


@click.command()
@click.argument("target", metavar="FILE.PY::NAME", shell_complete=complete_target)
@click.option(
    "--output",
    "-o",
    default="conda.lock",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The lock to write. The explicit list beside it ends with '.explicit.txt'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def lock(target: str, output: Path, as_json: bool) -> None:
    """
    Write down which packages the conda environment of a function has.

    The environment is built if it is not. The lock is in the format of rattler, and env_yml
    of a function may name it. The explicit list is for conda, and has no pip requirements.

    \b
    Example:
      fal-core env lock words.py::words -o words.lock
    """
    try:
        function = load_target(target)
        kind = function.options.environment.get("kind", "virtualenv")
        if kind != Conda.kind:
            raise OptionError(
                f"{target} has an environment of kind {kind!r}. "
                "Locks are written for kind 'conda'."
            )
        from fal_core.calling import environment_for
        from fal_env_conda.building import locks

        environment = environment_for(function.options, function.host)
        assert isinstance(environment, Conda)
        found = locks.lock(environment.recipe, _log, Event())
        explicit = output.with_name(f"{output.stem}.explicit.txt")
        output.write_text(found.lock, "utf-8")
        explicit.write_text(found.explicit, "utf-8")
    except TargetError as error:
        raise click.UsageError(str(error)) from error
    except FalCoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
    if as_json:
        print_json({"lock": str(output), "explicit": str(explicit)})
    else:
        click.echo(f"Wrote {output} and {explicit}.")


def _log(line: Log) -> None:
    click.echo(line.message, err=True)
