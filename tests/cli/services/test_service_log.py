"""The log of a service on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable

import pytest

from fal_core.cli.services.serving import ServiceLog, show_line
from fal_core.events import Level, Log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Show lines on a terminal without colours, and return what is written there."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")

    def show(*logs: Log) -> str:
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            for log in logs:
                show_line(log)
        return terminal.getvalue()

    return show


def line(level: Level = "INFO", **facts: object) -> Log:
    return Log(json.dumps(facts), level, time=0.0)


def test_a_request_is_a_sentence_on_a_terminal(shown: Callable[..., str]) -> None:
    """A line of JSON has the time, the request, its status, and how long it took."""
    asked = line(method="GET", path="/ask", status=200, milliseconds=1.25, request_id="abc")
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /ask 200 1\.2 ms abc\n", shown(asked))
    assert shown(line(path="/", status=None)).split()[1:] == ["/", "0", "0.0", "ms"]


def test_other_facts_are_listed_and_tracebacks_shown(shown: Callable[..., str]) -> None:
    """A line that is no request has its facts; a traceback is shown in its own lines."""
    assert shown(line(time="now", event="started", port=80))[8:] == " event=started  port=80\n"
    failed = line(event="failed", traceback="Traceback:\n  here\n")
    assert shown(failed)[8:] == " Traceback:\n  here\n"


@pytest.mark.parametrize("text", ["plain", "{broken", "[1]", '{"a"', '"text"', '{"a":' * 9999])
def test_lines_that_are_no_facts_are_printed_as_they_are(
    shown: Callable[..., str], text: str
) -> None:
    """Whatever is no JSON object is shown as the service has printed it."""
    assert shown(Log(text, "STDERR")) == f"{text}\n"


def test_off_terminals_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read the lines as they are."""
    show_line(line("ERROR", path="/", status=500))
    assert json.loads(capsys.readouterr().err) == {"path": "/", "status": 500}


def test_tracebacks_wait_until_they_are_released(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Lines that tell why a service cannot start are repeated by its error; other lines are
    printed as they come, and so are all once the service runs.
    """
    log = ServiceLog()
    log(line(traceback="why"))
    log(line(stack="where"))
    log(Log("other"))
    first = "".join(capsys.readouterr())
    assert "other" in first
    assert "why" not in first
    assert "where" not in first
    log.release()
    released = "".join(capsys.readouterr())
    assert released.index("why") < released.index("where")
    log(line(traceback="later"))
    assert "later" in "".join(capsys.readouterr())
    log.release()
    assert "".join(capsys.readouterr()) == ""
