"""``fal-core doctor``: what is wrong with this machine."""

from __future__ import annotations

import sys

import click

from fal_core.cli.outputs import print_json, styled
from fal_core.cli.tables import beside


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def doctor(as_json: bool) -> None:
    """
    Check that fal-core and its plugins work on this machine.

    The exit code is 1 where a check fails.

    \b
    Example:
      fal-core doctor
    """
    from fal_core.explanations.doctor import all_checks, run_check

    findings = []
    for check in all_checks():
        finding = run_check(check)
        findings.append({"name": check.name, "ok": finding.ok, "message": finding.message})
        if not as_json:
            colour = "green" if finding.ok else "red"
            word = f"{'ok' if finding.ok else 'fails':5}"
            message = " ".join(finding.message.split("\n"))
            first, *rest = beside(f"{word}  ", f"{check.name}: {message}")
            click.echo(styled(word, sys.stdout, fg=colour) + first.removeprefix(word))
            for line in rest:
                click.echo(line)
    if as_json:
        print_json(findings)
    if not all(finding["ok"] for finding in findings):
        raise click.exceptions.Exit(1)
