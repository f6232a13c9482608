"""``fal-core explain``: what a host would do with a function."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs
import click

from fal_core.cli.outputs import print_json, styled
from fal_core.cli.shells.candidates import complete_host_or_all, complete_target
from fal_core.cli.tables import beside, find_width, fit_columns, row_lines, wrap
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import load_targets

if TYPE_CHECKING:
    from fal_core.explanations.explaining import Explanation
    from fal_core.explanations.option_uses import OptionUse
    from fal_core.explanations.travels import Travel


#: What the rows of a section begin with.
_INDENT = " " * 4


@click.command(short_help="Show what a host would do with functions.")
@click.argument("target", metavar="FILE.PY[::NAME]", shell_complete=complete_target)
@click.option(
    "--on",
    "host",
    metavar="HOST|all",
    shell_complete=complete_host_or_all,
    help="Ask this host, a name or a URL, or all that are installed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def explain(target: str, host: str | None, as_json: bool) -> None:
    """
    Show what a host would do with a function, or with each one of a file.

    It shows whether the host would run it, or why not, which of its options apply, are
    kept for other hosts or are ignored, what travels, and whether the environment is
    built. The function is not run, and nothing is built, but its file is imported, so a
    script without a main guard makes its calls.

    The exit code is 0 even if the host would not run it, and 1 if there is no such host.

    \b
    Example:
      fal-core explain tasks.py::describe --on all
    """
    from fal_core.explanations import explaining as explanations

    found = []
    for name, declared in load_targets(target).items():
        function = with_own_block(declared)
        if host == "all":
            explained = explanations.explain_everywhere(function)
        else:
            explained = (explanations.explain(function, host),)
        found += [attrs.evolve(each, function=name) for each in explained]
    if as_json:
        print_json([attrs.asdict(explanation) for explanation in found])
        return
    for number, explanation in enumerate(found):
        if number:
            click.echo()
        for line in render(explanation):
            click.echo(line)


def render(explanation: Explanation) -> Iterable[str]:
    """Yield the lines that show *explanation* to a person."""
    runs = explanation.runs
    verdict = styled(
        "runs" if runs else "does not run", sys.stdout, fg="green" if runs else "red", bold=True
    )
    yield f"{explanation.function} on {explanation.host}: {verdict}"
    for reason in explanation.reasons:
        yield from beside("  ", reason)
    if explanation.kind is not None:
        built = "built" if explanation.built else "not built yet"
        key = f"key {explanation.key[:12]}, " if explanation.key else ""
        yield f"  environment  {explanation.kind} ({key}{built})"
    if explanation.workers:
        yield from beside("  workers      ", explanation.workers)
    yield from _section(
        "options",
        [
            (option.use, _say(option), option.why)
            for option in explanation.options
            if option.name != "kind"
        ],
    )
    yield from _section(
        "machine",
        [(machine.name, machine.states, machine.takes) for machine in explanation.machines],
    )
    yield from _section("travels", _by_package(explanation.travels))
    for note in explanation.notes:
        yield from beside("  note: ", note)


def _by_package(travels: Iterable[Travel]) -> list[tuple[str, str, str]]:
    """Return a row for each package whose modules travel as source, and for each other module."""
    rows: dict[tuple[str, ...], list[Travel]] = {}
    for travel in travels:
        package = travel.module.partition(".")[0] if travel.how == "source" else travel.module
        rows.setdefault((travel.how, package, travel.why), []).append(travel)
    return [
        (how, alike[0].module if len(alike) == 1 else f"{name} ({len(alike)} modules)", why)
        for (how, name, why), alike in rows.items()
    ]


def _say(option: OptionUse) -> str:
    if option.name == "requirements" and option.value in ("()", "[]"):
        return "without requirements"
    return f"{option.name} = {option.value}"


def _section(title: str, rows: list[tuple[str, str, str]]) -> Iterable[str]:
    if not rows:
        return
    yield f"  {title}"
    width = find_width(sys.stdout)
    widths = fit_columns(rows, None if width is None else width - len(_INDENT))
    for row in rows:
        lines = row_lines(row, widths) if widths else wrap(" ".join(row), 0)
        yield from (f"{_INDENT}{line}" for line in lines)
