"""``fal-core server start --dev``: a server for one developer."""

from __future__ import annotations

import httpx
import pytest
from click.testing import CliRunner

from fal_core.cli.program import cli
from fal_server.commands.dev_mode import show_lines
from fal_server.logs.log_lines import LogLine


def ask(port: int, **headers: str) -> httpx.Response:
    """Ask who the caller is."""
    shown = {"Authorization": "Key dev:dev", **headers}
    with httpx.Client(trust_env=False, headers=shown) as client:
        return client.get(f"http://127.0.0.1:{port}/users/current")


def test_server_for_one_developer(make_standing, programs, tmp_path_factory):
    """
    The key is memorable and may do everything; what runners print is shown, and they are led to
    the server. Pages of other sites do not get in with the key, and the next server does not
    know it.
    """
    root = tmp_path_factory.mktemp("dev")
    standing = make_standing(root, "--dev")
    server = standing.plane
    assert server.program.lines[1].startswith("# The key dev:dev may do everything")
    assert "export FAL_KEY=dev:dev\n" in server.program.lines

    def speak() -> str:
        print("open sesame")
        return "said"

    def find_proxy() -> str:
        import os

        return os.environ.get("HTTPS_PROXY", "")

    assert standing.run(speak, key="dev:dev") == "said"
    assert standing.run(find_proxy, key="dev:dev").startswith("http://fal:")
    api, queue = server.ports["api"], server.ports["queue"]
    assert ask(api).json()["nickname"] == "owner"
    assert ask(api, Origin="http://localhost:3000").status_code == 200
    for headers in (
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Host": f"example.com:{api}"},
    ):
        assert ask(api, **headers).status_code == 403
    with programs.connect(f"127.0.0.1:{queue}", "dev:dev") as client:
        assert client.get("/owner/none/requests/1/status").status_code == 404
    assert server.program.end() == 0
    assert any("speak" in line and "| open sesame" in line for line in server.program.lines)
    assert "Traceback" not in server.program.errors.read_text()

    other = programs.Server(root / "data")
    assert ask(other.ports["api"]).status_code == 401
    other.close()


@pytest.mark.parametrize(
    "options",
    [
        ("--address", "0.0.0.0"),
        ("--public", "run=run.example.com"),
        ("--proxy", "10.0.0.7"),
        ("--machine", "ray"),
    ],
)
def test_server_for_others_is_refused(options, tmp_path):
    """A server that others reach does not start with a key that everybody knows."""
    command = ["server", "start", "--dev", "--data", str(tmp_path / "data"), *options]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2
    assert "everybody knows the key" in done.output
    assert not (tmp_path / "data").exists()


def test_lines_do_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]):
    """Control characters that a runner prints are escaped; tabs and the lines of a traceback stay."""
    where = {"account_id": "me", "application": "a\x1b[2J", "runner_id": "r"}
    show_lines([LogLine(message="one\t\x1b]0;title\x07\r\n  two", time=0.0, **where)])
    text = capsys.readouterr().out
    assert r"a\x1b[2J" in text
    assert "| one\t\\x1b]0;title\\x07\n  two\n" in text
