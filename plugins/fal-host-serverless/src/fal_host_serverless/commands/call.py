"""``fal-core call``: send a request to a deployed application."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_host_serverless.commands.client_options import client_options, stage_option

if TYPE_CHECKING:
    import httpx

    from fal_host_serverless.account.application_calls import ApplicationCall, QueuedCall
    from fal_host_serverless.client import SyncServerlessClient


def _read_body(_: click.Context, __: click.Parameter, written: str | None) -> bytes | None:
    """Return the body that is written, in a file, or on standard input, once it is JSON."""
    if written is None:
        return None
    try:
        if written == "-":
            text = sys.stdin.read()
        elif written.startswith("@"):
            text = Path(written[1:]).read_text("utf-8")
        else:
            text = written
        json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{written!r} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"It is not JSON: {error}.") from None
    return text.encode()


@click.command(short_help="Send a request to a deployed application.")
@click.argument("app", metavar="APP[/PATH]")
@click.option(
    "--json",
    "--input",
    "body",
    metavar="JSON",
    callback=_read_body,
    help="What is sent: JSON, @FILE, or - for standard input.",
)
@click.option(
    "--method", metavar="NAME", default="POST", help="The HTTP method [default: POST]."
)
@click.option("--queue", is_flag=True, help="Send it to the queue, and follow it to its end.")
@click.option("--stream", is_flag=True, help="Print each event or line when it comes.")
@click.option("--owner", metavar="NAME", help="The owner of the application, if not you.")
@stage_option
@client_options
def call(
    app: str,
    body: bytes | None,
    method: str,
    queue: bool,
    stream: bool,
    owner: str | None,
    stage: str | None,
    client: SyncServerlessClient,
) -> None:
    """
    Send a request to a deployed application, and print the response.

    With --queue its state and its log are printed on standard error meanwhile, and Ctrl-C
    cancels it.

    \b
    Example:
      fal-core call reader/summarise --json '{"text": "..."}' --stream
    """
    from fal_host_serverless.account.application_calls import ApplicationCall

    if queue and (stream or method.upper() != "POST"):
        raise click.UsageError(
            "A request of '--queue' is a POST whose result comes at its end."
        )
    made = ApplicationCall(
        app, body, method=method.upper(), owner=owner, environment_name=stage
    )
    service = client.find_service()
    if queue:
        _print_response(_follow(made.submit(service)))
    elif stream:
        _print_parts(made, service)
    else:
        _print_response(made.send(service))


def _follow(queued: QueuedCall) -> httpx.Response:
    """Show the state and the log of a queued request until it is done, and return the response."""
    click.echo(f"Request {queued.request_id}", err=True)
    try:
        for line in queued.follow():
            click.echo(line, err=True)
    except KeyboardInterrupt:
        queued.cancel()
        click.echo(f"Request {queued.request_id} is cancelled.", err=True)
        raise
    return queued.response()


def _print_response(response: httpx.Response) -> None:
    kind = response.headers.get("Content-Type", "")
    if not _is_text(kind):
        if sys.stdout.isatty():
            raise click.ClickException(
                f"The response has {len(response.content)} bytes of {kind or 'no type'}, which "
                "a terminal does not show. Write it to a file, as in '> FILE'."
            )
        sys.stdout.buffer.write(response.content)
        sys.stdout.buffer.flush()
        return
    if "json" in kind and sys.stdout.isatty():
        click.echo(json.dumps(response.json(), indent=2, ensure_ascii=False))
    else:
        click.echo(response.text)


def _print_parts(made: ApplicationCall, service: Any) -> None:
    with made.stream(service) as parts:
        for part in parts:
            if isinstance(part, bytes):
                sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
            else:
                click.echo(part)
                sys.stdout.flush()


def _is_text(kind: str) -> bool:
    return (
        not kind
        or kind.startswith("text/")
        or any(each in kind for each in ("json", "xml", "javascript", "x-www-form"))
    )
