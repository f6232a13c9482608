"""The command ``fal-core completion``, and what the shells run when they complete a word."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from fal_core.cli.program import COMPLETE_VARIABLE

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' completion type value
    COMPREPLY=()
    for completion in $(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
            COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1"); do
        type="${completion%%%%,*}"
        value="${completion#*,}"
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Completion for bash, which takes a colon as the end of a word."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        if line[-1:].isspace():
            words.append("")
        self._begun = words[-1]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        value: str = item.value
        if ":" in os.environ.get("COMP_WORDBREAKS", ":"):
            # Bash replaces only what stands behind the last colon.
            begun = self._begun.rpartition(":")
            value = value.removeprefix("".join(begun[:2]))
        return f"{item.type},{value}"


class _Fish(FishComplete):
    """Completion for fish, with what options do told whole where it has commas."""

    source_template = FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","'
    )


add_completion_class(_Bash)
add_completion_class(_Fish)


@click.command(add_help_option=True, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print a script that makes a shell complete commands, hosts and functions of files.

    \b
    Examples:
      eval "$(fal-core completion bash)"    (in ~/.bashrc)
      eval "$(fal-core completion zsh)"     (in ~/.zshrc)
      fal-core completion fish > ~/.config/fish/completions/fal-core.fish
    """
    cls = get_completion_class(shell)
    assert cls is not None
    root = context.find_root()
    click.echo(cls(root.command, {}, "fal-core", COMPLETE_VARIABLE).source())
