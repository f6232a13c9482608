"""Announcements of what happens on a server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading

import pytest

from fal_server.activity.announcements import announce, announcing


class Terminal(io.StringIO):
    """A text that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def tell() -> None:
    announce("deployed", "revision 1f serves", application="owner/app", revision="1f")
    announce("runner-failed", "runner 2e has failed", failed=True, application="owner/app")


def test_announcements_are_json():
    """Elsewhere than on a terminal each is an object with its facts."""
    written = io.StringIO()
    with announcing(written, is_quiet=False):
        tell()
    announce("deployed", "nobody is told")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "event": "deployed",
        "application": "owner/app",
        "revision": "1f",
        "message": "revision 1f serves",
    }
    assert (second["level"], second["event"]) == ("error", "runner-failed")


def test_terminals_have_colours(monkeypatch: pytest.MonkeyPatch):
    """On a terminal a line has a time, what it is about, and a colour unless that is not wanted."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for colours in (True, False):
        written = Terminal()
        with announcing(written, is_quiet=False):
            tell()
        first, second = written.getvalue().splitlines()
        assert "owner/app: revision 1f serves" in first
        assert ("\x1b[32m" in first, "\x1b[31m" in second) == (colours, colours)
        monkeypatch.setenv("NO_COLOR", "1")


def test_terminals_get_no_control_characters():
    """What a name or a reason has of control characters and line breaks is escaped."""
    written = Terminal()
    with announcing(written, is_quiet=False):
        announce("failed", "why: \x1b[2J\r\nowner/app: serves", application="a\x9b\u202eé")
    (line,) = written.getvalue().splitlines()
    assert r"a\x9b\u202eé: why: \x1b[2J\r\nowner/app: serves" in line


def test_quiet_server_tells_failures():
    """Those who want no lines want to know what fails."""
    written = io.StringIO()
    with announcing(written, is_quiet=True):
        tell()
    (only,) = map(json.loads, written.getvalue().splitlines())
    assert only["event"] == "runner-failed"


def test_nobody_waits_for_a_reader():
    """What nobody reads holds up neither the server nor its end."""
    reading, writing = os.pipe()
    stream = open(writing, "w")  # noqa: SIM115  # closed below, when nobody reads it

    def work() -> None:
        with announcing(stream, is_quiet=False):
            for _ in range(12_000):
                tell()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    # The thread that writes ends with its reader.
    os.close(reading)
    for each in threading.enumerate():
        if each.name == "activity":
            each.join(60)
            assert not each.is_alive()
    with contextlib.suppress(BrokenPipeError):
        stream.close()
