"""Applications as an operator sees them: deployed, called, rolled back and deleted by commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_serve")

from fal_core.cli.program import run
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.account.log_queries import LogQuery

SOURCE = """
    from collections.abc import Iterator

    from fal_serve import App, endpoint, realtime
    from pydantic import BaseModel


    class Wanted(BaseModel):
        word: str
        times: int = 2


    class Served(App, keep_alive=300):
        @endpoint("/look")
        def look(self, wanted: Wanted) -> dict[str, str]:
            print("looks for", wanted.word)
            return {"word": wanted.word * wanted.times}

        @endpoint("/parts")
        def parts(self, word: str) -> Iterator[str]:
            yield from word

        @realtime("/talk")
        def talk(self, word: str) -> str:
            return word
"""

Command = Callable[..., str]


@pytest.fixture
def command(served_plane: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Command:
    """
    Run a command of ``fal-core`` on the server, check its exit code, and return what it
    prints; what it prints on standard error is in ``command.errors``.
    """
    ports = served_plane.plane.plane.ports
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    for name, port in (
        ("FAL_GRPC_HOST", "api"),
        ("FAL_REST_HOST", "api"),
        ("FAL_RUN_HOST", "run"),
        ("FAL_QUEUE_RUN_HOST", "queue"),
    ):
        monkeypatch.setenv(name, f"127.0.0.1:{ports[port]}")
    monkeypatch.setenv("FAL_KEY", served_plane.plane.key)

    def call(*arguments: str, code: int = 0) -> str:
        found = run(arguments)
        printed = capsys.readouterr()
        call.errors = printed.err  # type: ignore[attr-defined]  # a function has any
        assert found == code, printed.out + printed.err
        return str(printed.out)

    return call


def deploy(served_plane: Any, name: str, message: str) -> str:
    """Deploy the application of the standard library with a message."""

    def change(request: Any) -> None:
        request.metadata.update({"message": message})

    return str(served_plane.deploy(name, change=change))


def test_revisions_and_their_history(served_plane: Any, command: Command):
    """
    Revisions are listed with their messages; an application goes back to the one that served
    before, or to one that is named, and the history has each step.
    """
    first, second = (deploy(served_plane, "told", message) for message in ("One", "Two"))
    listed = json.loads(command("apps", "revisions", "told", "--json"))
    assert [(each["revision"], each["message"], each["serves"]) for each in listed] == [
        (second, "Two", True),
        (first, "One", False),
    ]
    assert f"is back at revision {first[:12]} (One)" in command("apps", "rollback", "told")
    shown = command("apps", "revisions", "told")
    assert re.search(rf"^\* +{first[:12]} .* One$", shown, re.M), shown
    refused = command("apps", "rollback", "told", first[:6], code=1)
    assert refused == ""
    assert "is at revision" in command.errors  # type: ignore[attr-defined]  # see there
    command("apps", "delete", "told", "--yes")
    assert "told" not in command("apps", "list")
    told = json.loads(command("apps", "rollback", "told", "--json"))
    assert (told["revision"], told["previous"]) == (first, None)
    history = json.loads(command("apps", "history", "told", "--json"))
    assert [(each["action"], each["outcome"], each["revision"]) for each in history] == [
        ("set", "serving", first),
        ("delete", "deleted", ""),
        ("set", "serving", first),
        ("deploy", "serving", second),
        ("deploy", "serving", first),
    ]
    assert history[0]["key_id"] == served_plane.plane.key.partition(":")[0]
    shown = command("apps", "history", "told", "--limit", "2")
    assert "rolled back" in shown
    assert "deployed" not in shown
    command("apps", "delete", "told", "--revision", first, "--yes", code=1)
    assert "serves told" in command.errors  # type: ignore[attr-defined]  # see there
    command("apps", "delete", "told", "--revision", second, "--yes")
    assert len(json.loads(command("apps", "revisions", "told", "--json"))) == 1


def test_deployment_that_fails_is_in_the_history(served_plane: Any, command: Command):
    """The history says why a revision does not serve, and a roll back leaves it out."""
    first = deploy(served_plane, "failing", "Good")

    def end(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        raise LookupError("no weights")

    with pytest.raises(Exception, match="could not be started"):
        served_plane.deploy("failing", function=end)
    failed, served = json.loads(command("apps", "history", "failing", "--json"))
    assert (failed["outcome"], served["revision"]) == ("failed", first)
    assert "no weights" in failed["reason"]
    command("apps", "rollback", "failing", code=1)
    assert "No earlier revision of 'failing' has served" in (
        command.errors  # type: ignore[attr-defined]  # see there
    )


def test_application_that_never_came_up_is_listed_as_failed(
    served_plane: Any, command: Command
):
    """The list says since when, in place of the number of its runners; for machines beside it."""
    deploy(served_plane, "came", "Good")

    def end(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        raise LookupError("no weights")

    with pytest.raises(Exception, match="could not be started"):
        served_plane.deploy("never", function=end)
    (line,) = [each for each in command("apps", "list").splitlines() if "never" in each]
    assert "failed since 20" in line
    listed = {each["alias"]: each for each in json.loads(command("apps", "list", "--json"))}
    since = datetime.fromisoformat(listed["never"]["failed_since"])
    assert f"failed since {since.astimezone():%Y-%m-%d %H:%M}" in line
    assert listed["came"]["failed_since"] is None


def test_history_of_others_is_not_shown(
    served_plane: Any, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Another account sees neither the revisions nor the history, and cannot roll back."""
    deploy(served_plane, "own", "Mine")
    monkeypatch.setenv("FAL_KEY", served_plane.plane.add_user("stranger"))
    for words in (("revisions", "own"), ("history", "own"), ("rollback", "own")):
        command("apps", *words, code=1)
        assert "There is no application 'own'" in (
            command.errors  # type: ignore[attr-defined]  # see there
        )


def test_deployed_application_is_called(served_plane: Any, command: Command):
    """
    A deployment prints few lines: among them a call that works as it is, and the realtime
    endpoints as what they are. Calls go straight, through the queue, or as a stream.
    """
    printed = served_plane.deploy_class("shown", SOURCE)
    ports = served_plane.plane.plane.ports
    assert len(printed.splitlines()) < 11
    assert re.search(r"^Deployed shown, revision [0-9a-f]{32}, in [0-9.]+ s\.$", printed, re.M)
    assert f"Realtime: ws://127.0.0.1:{ports['run']}/owner/shown/talk" in printed
    assert f"Sync: http://127.0.0.1:{ports['run']}/owner/shown/talk" not in printed
    (copied,) = re.findall(r"^Call it: fal-core (.*)$", printed, re.M)
    assert copied == """call shown/look --json '{"word": "..."}'"""
    assert json.loads(command(*shlex.split(copied))) == {"word": "......"}
    body = '{"word": "ab", "times": 1}'
    assert command("call", "owner/shown/look", "--json", body) == '{"word":"ab"}\n'
    queued = command("call", "shown/look", "--json", body, "--queue")
    assert json.loads(queued) == {"word": "ab"}
    errors = command.errors  # type: ignore[attr-defined]  # see there
    assert "looks for ab" in errors
    assert "[done]" in errors
    parts = command("call", "shown/parts?word=abc", "--stream")
    assert [json.loads(each) for each in parts.splitlines()] == ["a", "b", "c"]
    lines = [json.loads(each) for each in command("logs", "shown", "--json").splitlines()]
    (said, *_) = [each for each in lines if each["message"] == "looks for ab"]
    assert said["level"] == "STDOUT"
    (id,) = re.findall(r"^Request (\S+)$", errors, re.M)
    of_it = command("logs", "shown", "--request", id)
    assert [each.split(None, 4)[4].split(None, 1)[1] for each in of_it.splitlines()][:1] == [
        "looks for ab"
    ]
    runner = said["job_id"]
    found = command("runners", "logs", runner, "--search", "LOOKS FOR AB", "--json")
    assert {json.loads(each)["message"] for each in found.splitlines()} == {"looks for ab"}
    follow = LogQuery(app_name="shown", search="looks for").follow
    coming = follow(SyncServerlessClient().find_service(), said)
    command("call", "shown/look", "--json", '{"word": "later"}')
    assert next(each["message"] for each in coming if "ab" not in each["message"]) == (
        "looks for later"
    )
    coming.close()
    assert "looks for ab" not in command("logs", "shown", "--level", "error")
    assert len(command("logs", "shown", "--tail", "1", "--since", "1h").splitlines()) == 1
    assert "looks" not in command("logs", "shown", "--until", "1h")
    command("logs", "missing", code=1)
    assert "There is no application 'missing'" in (
        command.errors  # type: ignore[attr-defined]  # see there
    )
    command("call", "shown/look", "--json", "{}", code=1)
    errors = command.errors  # type: ignore[attr-defined]  # see there
    assert re.search(r"answers 422 at /owner/shown/look: .* \(request [0-9a-f-]{36}\)", errors)
    command("call", "missing/look", "--json", "{}", code=1)
    assert "owner/missing" in command.errors  # type: ignore[attr-defined]  # see there
    command("call", "shown/look", "--json", "{wrong", code=2)
    assert "It is not JSON" in command.errors  # type: ignore[attr-defined]  # see there
