"""``fal-core deploy``: deploy an application."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urldefrag, urlsplit

import attrs
import click

from fal_core.cli import complete_target, make_progress, print_json
from fal_host_serverless.commands.client_options import (
    client_options,
    json_option,
    stage_option,
)
from fal_host_serverless.commands.output import to_plain
from fal_host_serverless.deploying.openapi_documents import example_of, query_of

if TYPE_CHECKING:
    from fal_core.events import Event, Log
    from fal_host_serverless.client import SyncServerlessClient
    from fal_host_serverless.deploy import Deployment, DeploymentResult


def _read_annotations(
    _: click.Context, __: click.Parameter, written: tuple[str, ...]
) -> dict[str, str]:
    read: dict[str, str] = {}
    for each in written:
        name, separator, text = each.partition("=")
        if not (name and separator):
            raise click.BadParameter(f"{each!r} is not written as NAME=TEXT.")
        if name in read:
            raise click.BadParameter(f"{name!r} is written twice.")
        read[name] = text
    return read


@click.command()
@click.argument("app", metavar="[FILE.PY::APP]", required=False, shell_complete=complete_target)
@click.option("--app-name", metavar="NAME", help="The name of the application.")
@click.option(
    "--auth",
    type=click.Choice(["public", "private", "shared"]),
    help="Who may call it: anybody, its owner, or everybody with a key.",
)
@click.option(
    "--strategy",
    type=click.Choice(["rolling", "recreate"]),
    help="Whether the previous runners end once a new one is ready, or before it starts.",
)
@click.option(
    "--reset-scale/--no-reset-scale",
    default=None,
    help="Replace the scaling that is set by that of the declaration.",
)
@click.option(
    "--attach/--detach",
    "attach_to_deployment",
    default=None,
    help="Whether to wait until a runner has come up and takes the requests.",
)
@click.option("--message", metavar="TEXT", help="A description of the revision.")
@click.option(
    "--annotation",
    "annotations",
    metavar="NAME=TEXT",
    multiple=True,
    callback=_read_annotations,
    help="A text that the revision carries by name; may be repeated.",
)
@click.option("--force-env-build", is_flag=True, help="Build the environment again.")
@click.option("--dry-run", is_flag=True, help="Only print what would be deployed.")
@stage_option
@client_options
@json_option
def deploy(
    app: str | None,
    stage: str | None,
    client: SyncServerlessClient,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """
    Deploy an application of a file, or of pyproject.toml.

    Without a file, APP is the name of an application under [tool.fal.apps]; it may be
    left out if there is only one.

    \b
    Example:
      fal-core deploy app.py::Reader --app-name reader --auth private
    """
    from fal_host_serverless import deploy as deploying
    from fal_host_serverless.deploying.deployments import describe_interruption
    from fal_host_serverless.deploying.registrations import Progress

    started = time.monotonic()
    deployment = deploying.prepare(client, app, environment_name=stage, **options)
    if dry_run:
        _print_plan(deployment, as_json=as_json)
        return
    shown, progress = DeploymentLog(make_progress()), Progress()
    from fal_core.events import State

    shown(State("building"))
    try:
        result = deploying.execute(deployment, log=shown, progress=progress)
    except KeyboardInterrupt:
        shown.close()
        click.echo(describe_interruption(deployment, progress), err=True)
        raise
    finally:
        shown.close()
    if as_json:
        print_json(to_plain(result))
        return
    _print_result(result, time.monotonic() - started)
    _print_call(result, progress.metadata, stage)


def _print_plan(deployment: Deployment, *, as_json: bool) -> None:
    files = [(file.relative_path, file.size) for file in deployment.files]
    sources = [
        (str(folder), packed.name, packed.size) for folder, packed in deployment.sources.items()
    ]
    total = sum(size for _, size in files)
    plan = {
        "app_name": deployment.app_name,
        "auth": deployment.auth,
        "strategy": deployment.strategy,
        "reset_scale": deployment.reset_scale,
        "environment_name": deployment.service.stage,
        "team": deployment.team,
        "entry_point": deployment.entry_point,
        "kind": deployment.call.environment.kind,
        "endpoints": deployment.endpoints,
        "files": [{"path": path, "size": size} for path, size in files],
        "projects": [
            {"path": path, "archive": name, "size": size} for path, name, size in sources
        ],
        "size": total + sum(size for _, _, size in sources),
    }
    if as_json:
        print_json(plan)
        return
    click.echo(f"Would deploy {deployment.app_name}, {deployment.strategy}.")
    click.echo(f"Auth: {deployment.auth or 'unchanged, or private if it is new'}")
    if deployment.team:
        click.echo(f"Team: {deployment.team} (a key ignores it)")
    click.echo(f"Environment: {deployment.call.environment.kind}")
    if deployment.entry_point:
        click.echo(f"Entry point: {deployment.entry_point}")
    else:
        click.echo(f"Endpoints: {', '.join(deployment.endpoints)}")
    click.echo(f"Files: {len(files)}, {total} bytes")
    for path, size in files:
        click.echo(f"  {path}  {size}")
    if sources:
        click.echo(f"Projects: {len(sources)}, {sum(size for _, _, size in sources)} bytes")
    for path, name, size in sources:
        click.echo(f"  {path}  {name}  {size}")


def _note_on_pages(result: DeploymentResult) -> str:
    """Return a remark on the playground of an application, if not everybody may use that."""
    answering = {**result.urls["sync"], **result.urls.get("realtime", {})}
    places = [
        {urlsplit(url).netloc for url in urls.values()}
        for urls in (result.urls["playground"], answering)
    ]
    if places[0] != places[1] or result.auth_mode not in ("private", "shared"):
        return ""
    return " (opens from 'fal-core server open'; '--auth public' opens it to all)"


def _print_result(result: DeploymentResult, seconds: float) -> None:
    click.echo(f"Deployed {result.app_name}, revision {result.revision}, in {seconds:.1f} s.")
    click.echo(f"Auth: {result.auth_mode}")
    note = _note_on_pages(result)
    # Endpoints on the same page differ in their fragment alone.
    for url in dict.fromkeys(urldefrag(url).url for url in result.urls["playground"].values()):
        click.echo(f"Playground: {url}{note}")
    for use in ("sync", "realtime"):
        for url in result.urls.get(use, {}).values():
            click.echo(f"{use.capitalize()}: {url}")


def _print_call(
    result: DeploymentResult, metadata: Mapping[str, Any], stage: str | None
) -> None:
    """Print a command line that calls the application, and one that follows its log."""
    rest = f" --stage {shlex.quote(stage)}" if stage else ""
    path = next(iter(result.urls["sync"]), None)
    if path is not None:
        example, query = example_of(metadata, path), query_of(metadata, path)
        target = f"{result.app_name}{path}".rstrip("/") + (f"?{query}" if query else "")
        words = ["fal-core", "call", target]
        if example is not None:
            words += ["--json", json.dumps(example, ensure_ascii=False)]
        click.echo(f"Call it: {shlex.join(words)}{rest}")
    click.echo(f"Logs: fal-core logs {result.app_name} -f{rest}")


_TRACEBACK = "Traceback (most recent call last):"


class Shown(Protocol):
    """What shows events: the progress of the command line."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class DeploymentLog:
    """
    Shows what happens during a deployment, without records in JSON of errors.

    The service prints the traceback of an application that does not start, after the
    application itself has printed it in such a record. One that was not repeated is shown
    at the end, as a traceback.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._kept: list[Log] = []

    def __call__(self, event: Event) -> None:
        """Show an event, or keep it."""
        from fal_core.events import Log

        if isinstance(event, Log):
            traceback = _traceback_in(event.message)
            if traceback:
                self._kept.append(attrs.evolve(event, message=traceback))
                return
            if _TRACEBACK in event.message:
                self._kept = [each for each in self._kept if not _is_same(each, event)]
        self._shown(event)

    def close(self) -> None:
        """Show what was kept, and stop showing progress."""
        kept, self._kept = self._kept, []
        for each in kept:
            self._shown(each)
        self._shown.close()


def _is_same(kept: Log, shown: Log) -> bool:
    """Tell whether two tracebacks end alike. Each may have frames that the other leaves out."""
    return kept.message.splitlines()[-1] in shown.message


def _traceback_in(message: str) -> str:
    """Return the traceback in a record in JSON. Empty where there is none."""
    if not message.startswith("{"):
        return ""
    try:
        facts = json.loads(message)
    except (ValueError, RecursionError):
        return ""
    traceback = facts.get("traceback") if isinstance(facts, dict) else None
    return traceback.strip() if isinstance(traceback, str) else ""
