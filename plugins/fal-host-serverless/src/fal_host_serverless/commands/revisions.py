"""``fal-core apps delete``, ``revisions``, ``history`` and ``rollback``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_host_serverless.commands.client_options import (
    WholeNumber,
    check_stage,
    client_options,
    complete_app,
    json_option,
    stage_option,
)
from fal_host_serverless.commands.output import print_values, report, to_plain

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient
    from fal_host_serverless.values import DeploymentInfo, RevisionInfo

#: What a history says of a deployment.
_WORDS = {
    ("deploy", "pending"): "starting",
    ("deploy", "serving"): "deployed",
    ("set", "pending"): "starting",
    ("set", "serving"): "rolled back",
}

#: Characters of a revision that tables show, which commands take in its place.
_SHOWN = 12


@click.command()
@click.argument("name", shell_complete=complete_app)
@click.option("--revision", metavar="ID", help="Delete this revision alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
@client_options
@json_option
def delete(
    name: str,
    revision: str | None,
    yes: bool,
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Delete an application. It takes no requests any longer, and finishes those that it has.

    Its revisions stay: 'fal-core apps rollback' brings it back, as a private application.

    \b
    Example:
      fal-core apps delete reader --yes
    """
    from fal_host_serverless.account import revisions

    if revision is None:
        _ask(f"Delete the application {name}?", yes=yes)
        client.perform(revisions.delete_app(name, stage))
        report(f"{name} is deleted.", as_json=as_json, app=name, deleted=True)
        return
    found = client.perform(revisions.list_revisions(name, stage))
    chosen = _find(name, revision, found)
    if chosen == _current(client, name, stage):
        raise click.ClickException(
            f"Revision {chosen[:_SHOWN]} serves {name}. Roll back to another one first, or "
            "delete the application, without '--revision'."
        )
    _ask(f"Delete revision {chosen[:_SHOWN]} of {name}?", yes=yes)
    client.perform(revisions.delete_revision(chosen))
    sentence = f"Revision {chosen[:_SHOWN]} of {name} is deleted."
    report(sentence, as_json=as_json, app=name, revision=chosen, deleted=True)


@click.command("revisions")
@click.argument("name", shell_complete=complete_app)
@stage_option
@client_options
@json_option
def list_revisions(
    name: str, stage: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    List the revisions of an application, the newest first. * marks the one that serves.

    \b
    Example:
      fal-core apps revisions reader
    """
    from fal_host_serverless.account import revisions

    found = client.perform(revisions.list_revisions(name, stage))
    if not found:
        check_stage(client, stage)
        raise click.ClickException(_unknown(name))
    current = _current(client, name, stage)
    service = client.find_service()
    messages = _messages(revisions.read_history(service, name, stage) or ())
    if as_json:
        print_json(
            [
                {
                    **to_plain(each),
                    "message": messages.get(each.revision, ""),
                    "serves": each.revision == current,
                }
                for each in found
            ]
        )
        return
    print_values(
        found,
        ("", "REVISION", "CREATED", "RUNNERS", "MACHINES", "MESSAGE"),
        lambda each: (
            *("*" if each.revision == current else "", each.revision[:_SHOWN]),
            *(each.created_at, each.active_runners, each.machine_types),
            messages.get(each.revision, ""),
        ),
        as_json=False,
        none="",
    )


@click.command()
@click.argument("name", shell_complete=complete_app)
@click.option("--limit", type=WholeNumber(), default=20, show_default=True, help="The most.")
@stage_option
@client_options
@json_option
def history(
    name: str, limit: int, stage: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Print what was done to an application, the newest first: deployments with their messages
    and how they ended, and roll backs.

    \b
    Example:
      fal-core apps history reader
    """
    from fal_host_serverless.account import revisions

    found = revisions.read_history(client.find_service(), name, stage)
    if found is None:
        raise click.ClickException(
            "The service keeps no history. 'fal-core apps revisions' lists the revisions."
        )
    if not found:
        check_stage(client, stage)
        raise click.ClickException(_unknown(name))
    print_values(
        found[:limit],
        ("TIME", "REVISION", "WHAT", "KEY", "MESSAGE"),
        lambda each: (
            *(each.created_at, each.revision[:_SHOWN] or "-", _describe(each)),
            *(each.key_id[:8], each.reason or each.message),
        ),
        as_json=as_json,
        none="",
    )


@click.command()
@click.argument("name", shell_complete=complete_app)
@click.argument("revision", required=False)
@click.option(
    "--strategy",
    type=click.Choice(["rolling", "recreate"]),
    default="rolling",
    show_default=True,
    help="Whether the present runners end once a new one is ready, or before it starts.",
)
@stage_option
@client_options
@json_option
def rollback(
    name: str,
    revision: str | None,
    strategy: str,
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Let an earlier revision of an application serve again: by default the one that served
    before. The present one serves until a runner of it has come up.

    REVISION is an id, or the beginning of one, of 'fal-core apps revisions'.

    \b
    Example:
      fal-core apps rollback reader
    """
    from fal_host_serverless.account import revisions

    started = time.monotonic()
    found = client.perform(revisions.list_revisions(name, stage))
    current = _current(client, name, stage)
    past = revisions.read_history(client.find_service(), name, stage) or ()
    if not found:
        check_stage(client, stage)
        raise click.ClickException(_unknown(name))
    if revision is None:
        chosen = revisions.find_previous(name, current, found, past)
    else:
        chosen = _find(name, revision, found)
    if chosen == current:
        raise click.ClickException(f"{name} is at revision {chosen[:_SHOWN]} already.")
    client.perform(revisions.point_to(name, chosen, strategy, stage))
    message = _messages(past).get(chosen, "")
    said = f" ({message})" if message else ""
    report(
        f"{name} is back at revision {chosen[:_SHOWN]}{said}, after "
        f"{time.monotonic() - started:.1f} s.",
        as_json=as_json,
        app=name,
        revision=chosen,
        previous=current,
    )


def _ask(question: str, *, yes: bool) -> None:
    """Ask a person on a terminal, and refuse to go on without an answer elsewhere."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say '--yes': standard input is no terminal.")
    click.confirm(question, abort=True, err=True)


def _current(client: SyncServerlessClient, name: str, stage: str | None) -> str | None:
    """Return the revision that an application is at. None where it is not there."""
    from fal_host_serverless.account.addresses import find_stage
    from fal_host_serverless.wire.requests import full_name

    wanted = full_name(name, find_stage(stage))
    found = client.apps.list(environment_name=stage)
    return next((each.revision for each in found if each.alias == wanted), None)


def _find(name: str, beginning: str, revisions: Sequence[RevisionInfo]) -> str:
    """Return the revision whose id begins so."""
    found = [each.revision for each in revisions if each.revision.startswith(beginning)]
    if len(found) == 1 or beginning in found:
        return beginning if beginning in found else found[0]
    if found:
        raise click.ClickException(
            f"{len(found)} revisions of {name} begin with {beginning!r}. Write more of the id."
        )
    raise click.ClickException(
        f"{name} has no revision {beginning!r}. 'fal-core apps revisions {name}' lists them."
    )


def _unknown(name: str) -> str:
    return f"There is no application {name!r}. 'fal-core apps list' shows those there are."


def _messages(past: Sequence[DeploymentInfo]) -> Mapping[str, str]:
    return {each.revision: each.message for each in past if each.message}


def _describe(deployment: DeploymentInfo) -> str:
    action, outcome = deployment.action, deployment.outcome
    return _WORDS.get((action, outcome), outcome)
