"""``fal-core plugins``: list the installed plugins, and begin a new one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from fal_core.cli.outputs import print_json, styled

if TYPE_CHECKING:
    from fal_core.plugins.loaders import PluginDescription


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


@click.group()
def plugins() -> None:
    """Look at the plugins that are installed, or begin one."""


@plugins.command("list", short_help="List the plugins, and what is wrong with them.")
@_json
def list_(as_json: bool) -> None:
    """
    List the plugins: what each provides, and what is wrong with those that are broken.

    \b
    Example:
      fal-core plugins list
    """
    from fal_core.plugins.installed import describe_plugins

    found = describe_plugins()
    if as_json:
        print_json([attrs.asdict(plugin) for plugin in found])
        return
    for plugin in found:
        state = styled("broken", sys.stdout, fg="red") if plugin.problem else "loaded"
        click.echo(f"{plugin.entry}: {state}")
        for line in _details(plugin):
            click.echo(f"  {line}")


@plugins.command()
@click.argument("name")
@click.option("--host", is_flag=True, help="A host. The default.")
@click.option("--environment", is_flag=True, help="A kind of environment.")
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to; a new directory here otherwise.",
)
@_json
def new(name: str, host: bool, environment: bool, path: Path | None, as_json: bool) -> None:
    """
    Create the project of a plugin that passes its tests at once.

    NAME is what users will write: the name of the host, or the kind of environment.

    \b
    Example:
      fal-core plugins new slurm --host
    """
    from fal_core.cli.projects import Project, create

    context = click.get_current_context()
    if host and environment:
        raise click.UsageError(
            "A plugin is begun with a host or with a kind of environment: give '--host' or "
            "'--environment', not both.",
            context,
        )
    try:
        project = Project.named(name, "environment" if environment else "host")
        project.refuse_taken()
    except ValueError as error:
        raise click.UsageError(str(error), context) from None
    folder = path or Path(project.distribution)
    files = []
    for written in create(project, folder):
        files.append(str(written))
        if not as_json:
            click.echo(f"  {written}")
    if as_json:
        print_json({"distribution": project.distribution, "files": files})
        return
    where = f" in {path}" if path else ""
    # The extra of the project brings what its tests need.
    install, test = shlex.quote(f"{folder}[testing]"), shlex.quote(str(folder))
    click.echo(
        f"Created {project.distribution}{where}. Install and test it:\n"
        f"  pip install -e {install} && pytest {test}"
    )


def _details(plugin: PluginDescription) -> Iterator[str]:
    if plugin.problem:
        yield plugin.problem
    if plugin.hosts:
        yield f"hosts: {', '.join(plugin.hosts)}"
    if plugin.environments:
        yield f"environments: {', '.join(plugin.environments)}"
    # The lines above tell of the hooks that register those two.
    others = [
        hook
        for hook in plugin.hooks
        if hook not in ("fal_register_hosts", "fal_register_environments")
    ]
    if others:
        yield f"hooks: {', '.join(others)}"
