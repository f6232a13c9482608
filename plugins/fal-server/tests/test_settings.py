"""Settings: the ports of listeners, and where the data is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_server.settings import ServerSettings, default_data

LISTENERS = ("api", "run", "queue", "ws", "metrics")


def ports(**settings: int) -> list[int]:
    made = ServerSettings(data=Path("data"), **settings)  # type: ignore[arg-type]  # of ports
    return [made.port_of(name) for name in LISTENERS]


def test_ports_follow_that_of_the_api():
    """
    Listeners have the ports after that of the API, unless they have one of their own; with
    port 0 all are free ones.
    """
    assert ports() == [6001, 6002, 6003, 6004, 6005]
    assert ports(port=80) == [80, 81, 82, 83, 84]
    assert ports(port=80, queue_port=7, ws_port=0) == [80, 81, 7, 0, 84]
    assert ports(port=0) == [0] * 5
    assert ports(port=0, run_port=9) == [0, 9, 0, 0, 0]


def test_database_is_in_the_data_directory_by_default():
    """The database is a file in the data directory, unless another is given."""
    assert ServerSettings(data=Path("/srv")).database_url == "sqlite:////srv/state.db"
    other = ServerSettings(data=Path("/srv"), database="postgresql://host/state")
    assert other.database_url == "postgresql://host/state"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("/elsewhere", "/elsewhere/fal-core/server"),
        ("~/elsewhere", "/home/me/elsewhere/fal-core/server"),
        ("", "/home/me/.local/share/fal-core/server"),
        (None, "/home/me/.local/share/fal-core/server"),
    ],
)
def test_default_data_directory(monkeypatch: pytest.MonkeyPatch, variable, expected: str):
    """The data directory is where the desktop's convention has data, if nothing else is said."""
    monkeypatch.setenv("HOME", "/home/me")
    if variable is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", variable)
    assert default_data() == Path(expected)


@pytest.mark.parametrize(
    ("host", "asks"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("", True),
        ("10.0.0.1", True),
        ("machine.example", True),
    ],
)
def test_metrics_ask_for_a_key_beyond_this_machine(host: str, asks: bool):
    """The metrics ask for a key where others than this machine may reach the server."""
    assert ServerSettings(data=Path("data"), host=host).asks_for_metrics_key is asks
    for told in (True, False):
        settings = ServerSettings(data=Path("data"), host=host, metrics_key=told)
        assert settings.asks_for_metrics_key is told
