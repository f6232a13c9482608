"""The command ``deploy``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.uploading import distributions


def test_deploy_command_prints_the_urls(
    run: Callable[..., int],
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
    capsys: Any,
):
    """Revision and URLs are printed, and the log of the service on standard error."""
    assert run("deploy", "searching.py::Search", "--auth", "public", "--reset-scale") == 0
    printed = capsys.readouterr()
    assert "Deployed search, revision rev-1, in " in printed.out
    assert "Sync: https://run.fal.test/me/app/find" in printed.out
    assert "Call it: fal-core call search\n" in printed.out
    assert "Logs: fal-core logs search -f\n" in printed.out
    assert "Installing" in printed.err
    request = recorder.last("RegisterApplication")
    assert request.scale
    assert request.auth_mode == 1
    said = ("--detach", "--message", "Find more", "--annotation", "by=me=you")
    assert run("deploy", "searching.py::Search", *said) == 0
    request = recorder.last("RegisterApplication")
    assert (request.HasField("attach_to_deployment"), request.attach_to_deployment) == (
        True,
        False,
    )
    assert MessageToDict(request.metadata)["annotations"] == {"by": "me=you"}
    assert run("deploy", "searching.py::Search", "--annotation", "by") == 2
    assert run("deploy", "searching.py::Search", *("--annotation", "a=b") * 2) == 2
    assert "'a' is written twice" in capsys.readouterr().err
    assert run("deploy", "searching.py::Search", "--json", "--app-name", "mine") == 0
    assert json.loads(capsys.readouterr().out)["app_name"] == "mine"


def test_dry_run_asks_nothing(
    run: Callable[..., int],
    asking: SyncServerlessClient,
    recorder: Any,
    rest: Any,
    project: Path,
    capsys: Any,
):
    """A dry run prints which files would travel, with their sizes, and sends nothing."""
    assert run("deploy", "searching.py::Search", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "data/words.txt  7" in printed
    assert "Files: 1, 7 bytes" in printed
    assert run("deploy", "searching.py::Search", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["files"] == [{"path": "data/words.txt", "size": 7}]
    assert plan["endpoints"] == ["/", "/find"]
    assert plan["team"] is None
    assert recorder.asked == []
    assert rest.asked == []


def test_dry_run_lists_projects(
    run: Callable[..., int],
    asking: SyncServerlessClient,
    recorder: Any,
    rest: Any,
    project: Path,
    own: Path,
    capsys: Any,
):
    """A dry run packs required projects, and prints their sizes."""
    (project / "needing.py").write_text(
        "from fal_core import function\n"
        "@function(requirements=[['./own[fast]'], ['./own', 'cowsay']])\n"
        "def answer() -> int:\n    return 1\n"
    )
    assert run("deploy", "needing.py", "--dry-run") == 0
    size = distributions.pack(own).size
    printed = capsys.readouterr().out
    assert f"Projects: 1, {size} bytes\n  {own}  own-1.tar.gz  {size}" in printed
    assert run("deploy", "needing.py", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["projects"] == [{"path": str(own), "archive": "own-1.tar.gz", "size": size}]
    assert plan["size"] == size
    assert recorder.asked == []
    assert rest.asked == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "No application is given"),
        (("nobody.py::look",), "There is no file nobody.py"),
        (("looking.py::nothing",), "There is no 'nothing' in looking.py"),
        (("search",), "'search' names no file"),
        (
            ("looking.py::look", "--attach", "--strategy", "recreate"),
            "Only a rolling deployment can be attached to",
        ),
    ],
)
def test_wrong_command_line_is_refused(
    refused: Callable[..., str], arguments: tuple[str, ...], told: str
):
    """The error says what to give instead."""
    assert told in refused("deploy", *arguments)


@pytest.mark.usefixtures("recorder", "rest")
def test_file_that_cannot_be_loaded(run_beside: Callable[..., tuple[int, str]], tmp_path: Path):
    """An error in the application's file is no usage error."""
    (tmp_path / "broken.py").write_text("raise LookupError('no weights')")
    code, errors = run_beside("deploy", "broken.py::look")
    assert code == 1
    assert "no weights" in errors
