"""The program ``fal-core``: its commands and its exit codes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from importlib import import_module
from typing import Any

import click

from fal_core.cli.outputs import OutputErrors, complain, report
from fal_core.errors import FalCoreError
from fal_core.reprs import in_one_line

#: The exit code that shells report for a program ended by Ctrl-C.
INTERRUPTED = 130

#: The variable by which a shell asks for what may complete a word.
COMPLETE_VARIABLE = "_FAL_CORE_COMPLETE"

#: The commands of the core, and where each is defined.
COMMANDS: Mapping[str, str] = {
    "new": "fal_core.cli.projects:new",
    "run": "fal_core.cli.run:run",
    "explain": "fal_core.cli.explain:explain",
    "executions": "fal_core.cli.executions:executions",
    "hosts": "fal_core.cli.hosts:hosts",
    "env": "fal_core.cli.stores.commands:env",
    "plugins": "fal_core.cli.plugins:plugins",
    "doctor": "fal_core.cli.doctor:doctor",
    "help": "fal_core.cli.about:help_",
    "version": "fal_core.cli.about:version",
    "completion": "fal_core.cli.shells.commands:completion",
}

#: The commands by what they are for; those of other plugins come last.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Functions": ("run", "new", "explain", "executions"),
    "Applications": ("deploy", "apps", "runners", "queue"),
    "Account": ("stages", "secrets", "keys", "profile"),
    "Server": ("server",),
    "This machine": ("hosts", "env", "machines", "plugins", "doctor"),
    "About fal-core": ("help", "version", "completion"),
}

#: An example of each section.
EXAMPLES: Mapping[str, str] = {
    "Functions": "fal-core run tasks.py::describe 3000000",
    "Applications": "fal-core deploy app.py::Reader",
    "Account": "fal-core secrets set HF_TOKEN",
    "Server": "fal-core server start",
    "This machine": "fal-core env list",
    "About fal-core": "fal-core help run",
}


#: The groups of the core that plugins add commands to.
OPEN_GROUPS = frozenset({"env"})

#: The commands that plugins add, and the extra of fal-core that brings each.
OF_EXTRAS: Mapping[str, str] = {
    "machines": "machines",
    "server": "server",
    **dict.fromkeys(
        (
            *("apps", "deploy", "environments", "keys", "profile", "queue", "runners"),
            *("secrets", "stages"),
        ),
        "serverless",
    ),
}

#: Commands of other programs, and what is written here for the same.
ELSEWHERE: Mapping[str, str] = {
    "auth": "'fal-core profile key' keeps a key.",
    "login": "'fal-core profile key' keeps a key.",
    "serve": "To serve: 'fal-core run FILE.PY::APP'.",
}


def import_command(name: str) -> click.Command:
    """Return the command of the core that is called *name*."""
    module, _, attribute = COMMANDS[name].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


class LazyGroup(click.Group):
    """The commands of the core, imported when they are used, and those of plugins."""

    _asked = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What plugins add to groups of the core, by the group's name and their own.
        self._added: dict[str, dict[str, click.Command]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._ask_plugins()
        return [*COMMANDS, *sorted(self.commands)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, with an example of each."""
        found = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                found[name] = command
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in found if name not in listed)
        width = formatter.width - 6 - max(map(len, found))
        for title, names in {**SECTIONS, "Others": others}.items():
            rows = [
                (name, found[name].get_short_help_str(width)) for name in names if name in found
            ]
            if not rows:
                continue
            with formatter.section(title):
                formatter.write_dl(rows)
                if title in EXAMPLES:
                    formatter.write_text(f"$ {EXAMPLES[title]}")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            self._ask_plugins()
            return self.commands.get(cmd_name)
        command = import_command(cmd_name)
        if cmd_name not in OPEN_GROUPS:
            return command
        self._ask_plugins()
        assert isinstance(command, click.Group)
        opened = copy(command)
        opened.commands = {**command.commands, **self._added.get(cmd_name, {})}
        return opened

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            remedy = self._find_remedy(ctx, args[0])
            if not remedy:
                raise
            raise click.UsageError(
                f"No such command {args[0]!r}. {remedy}", error.ctx
            ) from None

    def _find_remedy(self, ctx: click.Context, name: str) -> str:
        """Return a sentence on how to get the command *name*; empty if nothing is known."""
        from fal_core.declaring.known_options import nearest_name
        from fal_core.plugins.catalog import offered_extras

        extra = OF_EXTRAS.get(name)
        if extra in offered_extras():
            return (
                f"Its plugin is not installed, or is kept from loading. "
                f"`pip install 'fal-core[{extra}]'` installs it."
            )
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        near = nearest_name(name, [self.list_commands(ctx)])
        return "" if near is None else f"Did you mean {near!r}?"

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """
        Add a plugin's command; a *name* of two words adds it to a group of the core.

        Raises:
            ValueError: There is a command of that name already, or no such group.
        """
        name = name or cmd.name
        group, _, own = (name or "").partition(" ")
        if own:
            self._add_to_group(group, own, cmd)
            return
        if name in COMMANDS or name in self.commands:
            raise ValueError(f"there is a command {name!r} already.")
        super().add_command(cmd, name)

    def _add_to_group(self, group: str, name: str, command: click.Command) -> None:
        if group not in OPEN_GROUPS:
            known = ", ".join(sorted(OPEN_GROUPS))
            raise ValueError(f"commands are added to {known}, and not to {group!r}.")
        opened = import_command(group)
        assert isinstance(opened, click.Group)
        added = self._added.setdefault(group, {})
        if name in opened.commands or name in added:
            raise ValueError(f"there is a command '{group} {name}' already.")
        added[name] = command

    def _ask_plugins(self) -> None:
        """Let plugins add their commands; one that fails is reported, and the others work."""
        if self._asked:
            return
        self._asked = True
        from fal_core.plugins.installed import load_plugins

        for name, ask in load_plugins().hooks.each("fal_register_commands"):
            try:
                ask(cli=self)
            except Exception as error:
                said = f"Plugin {name!r} could not add its commands: {in_one_line(error)}."
                complain(said, title="Warning")


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version

        click.echo(f"fal-core {version('fal-core')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and exit.",
)
def cli() -> None:
    """Run Python functions anywhere."""


def run(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit code.

    It is 1 for an error, which is printed as one sentence, 2 for a wrong command line,
    and 130 after Ctrl-C. A function that exits gives its own code. Where nobody reads
    the output any more, it is 1 and nothing is printed.
    """
    with OutputErrors() as output:
        try:
            code = _run(arguments)
            output.flush()
        except OSError as error:
            if not output.has_raised(error):
                raise
            if not isinstance(error, BrokenPipeError):
                with suppress(OSError):
                    complain(f"The output cannot be written: {error.strerror}.")
            return 1
    return code


def _run(arguments: Sequence[str] | None) -> int:
    if COMPLETE_VARIABLE in os.environ:
        # A shell asks, and for bash it is answered by a class of its own.
        import_command("completion")
    try:
        result = cli.main(arguments, prog_name="fal-core", standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("Ctrl-C ended the command.", title="Interrupted")
        return INTERRUPTED
    except FalCoreError as error:
        return report(error)
    return result if isinstance(result, int) else 0


def _show(error: click.ClickException) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        # Its message is the help text; older versions of click print that themselves.
        click.echo(error.format_message(), err=True)
        return
    if not isinstance(error, click.UsageError):
        complain(error.format_message())
        return
    if error.ctx is not None and not isinstance(error, click.NoSuchOption):
        click.echo(error.ctx.get_usage(), err=True)
    complain(_say(error))
    if error.ctx is not None:
        click.echo(f"Run '{error.ctx.command_path} --help' to see how it is used.", err=True)


def _say(error: click.ClickException) -> str:
    """Return what *error* says, as a sentence."""
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    from difflib import get_close_matches

    near = get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=0)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No such option {error.option_name!r}.{hint}"
