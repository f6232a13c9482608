"""``fal-core help`` and ``fal-core version``: what is said about the program itself."""

from __future__ import annotations

import click

from fal_core.cli.outputs import print_json


@click.command("help")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(context: click.Context, names: tuple[str, ...]) -> None:
    """
    Show how a command is used, or all commands.

    \b
    Example:
      fal-core help env prune
    """
    assert context.parent is not None
    found = context.parent
    for name in names:
        group = found.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{found.command_path!r} has no commands.")
        _, command, _ = group.resolve_command(found, [name])
        assert command is not None
        found = click.Context(command, parent=found, info_name=name, **command.context_settings)
    click.echo(found.get_help())


@click.command(short_help="Print the versions of fal-core and of its plugins.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def version(as_json: bool) -> None:
    """
    Print the versions of fal-core, of Python and of the installed plugins.

    \b
    Example:
      fal-core version --json
    """
    import platform
    from importlib import metadata

    from fal_core.plugins.entry_points import find_entry_points

    plugins = {entry.distribution: entry.version for entry in find_entry_points()}
    versions = {
        "fal-core": metadata.version("fal-core"),
        "python": platform.python_version(),
        **{name: plugins[name] for name in sorted(plugins) if name != "fal-core"},
    }
    if as_json:
        print_json(versions)
        return
    for name, number in versions.items():
        click.echo(f"{name} {number}")
