"""``fal-core server``: how it starts, what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import attrs
import grpc
import pytest

from fal_server.limits import Limits, option_of


def test_first_start_prints_a_key_once(start_program, tmp_path, current):
    """
    The first start prints the first key and keeps it in a file that only its owner can
    read; the next start prints which command shows it instead, and the key is still valid.
    """
    first = start_program("--owner", "ann")
    variables = first.wait_until_ready()
    assert current(variables)["nickname"] == "ann"
    kept = tmp_path / "data" / "owner.key"
    assert kept.read_text() == variables["FAL_KEY"]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert first.end() == 0
    assert first.errors.read_text() == ""

    second = start_program()
    again = second.wait_until_ready()
    assert "FAL_KEY" not in again
    assert variables["FAL_KEY"] not in "".join(second.lines)
    shows = f"# FAL_KEY is shown by: fal-core server env --data {tmp_path / 'data'}\n"
    assert shows in second.lines
    assert not [line for line in first.lines if "is shown by" in line]
    assert current(again, variables["FAL_KEY"])["nickname"] == "ann"
    assert second.end(signal.SIGINT) == 0


def test_output_of_start_is_as_documented(start_program, tmp_path):
    """The documentation shows the output of the first start, line by line."""
    page = (Path(__file__).parents[4] / "docs" / "server.md").read_text()
    shown = page.partition("```console\n$ fal-core server start\n")[2].partition("```")[0]
    program = start_program()
    program.wait_until_ready()
    printed = "".join(line for line in program.lines if "insist on one port" not in line)
    printed = printed.replace(str(tmp_path / "data"), "/home/me/.local/share/fal-core/server")
    ports = re.findall(r"(?:api|run|queue|ws|metrics) (\d+)", printed)
    shown_as = {port: str(6001 + number) for number, port in enumerate(ports)}
    printed = re.sub(
        rf"\b({'|'.join(ports)})\b", lambda found: shown_as[found.group()], printed
    )
    assert re.sub(r"(FAL_KEY=).*", r"\1…", printed) == shown


def test_a_word_where_applications_share_the_ports(without_networks, start_program):
    """
    Where applications get no networks of their own, the first thing that an operator is told
    is that those of one port exclude each other, and what to install.
    """
    program = start_program()
    program.wait_until_ready()
    [word] = [line for line in program.lines if "insist on one port" in line]
    assert "pasta" in word


def test_applications_of_the_documentation_have_distinct_names():
    """
    No page deploys an application over that of another, so that one may be followed
    after the other.
    """
    root = Path(__file__).parents[4]
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    names = [
        re.findall(r"^(?:\$ )?fal(?:-core)? deploy .*--app-name (\S+)", page.read_text(), re.M)
        for page in pages
    ]
    deployed = [name for each in names for name in each]
    assert {"reader", "counter", "hello"} <= set(deployed)
    assert len(deployed) == len(set(deployed))


def test_second_server_on_a_directory_is_refused(start_program, server):
    """One server at a time uses a data directory, however the one before has ended."""
    first = start_program()
    first.wait_until_ready()
    _, errors = server("start", "--port", "0", code=1)
    assert f"process {first.process.pid}" in errors
    first.end(signal.SIGKILL)
    start_program().wait_until_ready()


def test_port_in_use_is_an_error(start_program, server, tmp_path):
    """A port in use is an error of one sentence."""
    first = start_program(data="other")
    port = first.wait_until_ready()["FAL_GRPC_HOST"].partition(":")[2]
    _, errors = server("start", "--port", port, code=1)
    assert f"cannot listen at 127.0.0.1:{port} for the API: it is taken by" in errors
    assert f"by process {first.process.pid} (" in errors
    assert "choose other ports by '--port'" in errors
    assert "Traceback" not in errors


def test_kind_that_is_not_installed_is_an_error(server, tmp_path):
    """A kind that no plugin provides is an error of one sentence, before anything is made."""
    kinds = ("--kind", "virtualenv", "--kind", "virtualenf")
    _, errors = server("start", "--port", "0", *kinds, code=1)
    assert "No kind of environment is called 'virtualenf'." in errors
    assert "Did you mean 'virtualenv'?" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "data").exists()


def test_address_of_another_machine_is_an_error(server):
    """An address that this machine has not is an error of one sentence."""
    _, errors = server("start", "--address", "192.0.2.1", "--port", "0", code=1)
    assert "cannot listen at 192.0.2.1 for the API: Cannot assign" in errors
    assert "Give an address of this machine by '--address'." in errors
    assert errors.count("192.0.2.1") == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("foo", "is not the URL of a database. Write one as in 'sqlite:////srv/state.db' or"),
        ("nosuch://:secret@host/x", "cannot be kept in a database of kind 'nosuch'."),
    ],
)
def test_unusable_database_is_an_error(server, url, told):
    """An unusable database is an error of one sentence, without its password."""
    for command in (("start", "--port", "0"), ("users", "list")):
        _, errors = server(*command, "--database", url, code=1)
        assert told in " ".join(errors.split())
        assert "secret" not in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("option", "written", "told"),
    [
        ("--webhook-network", "foo", "'foo' is not a network. Write one as in '10.0.0.0/8'"),
        ("--webhook-network", "10.0.0.1/8", "Write '10.0.0.0/8' for the network"),
        ("--memory", "foo", "'foo' is not written as TYPE=SIZE, where SIZE is a whole number"),
        ("--memory", "XS=1M", "A runner needs at least 64M of memory"),
        ("--public", "run.example.com", "api, run, queue, ws, files and the host"),
        ("--public", "web=example.com", "'web=example.com' does not name a listener"),
        ("--public", "run=https://example.com", "as in 'run=run.example.com'"),
        ("--public", "run=a b", "'run=a b' does not name a listener and a host"),
        ("--public", "run=user@h?x#y", "'run=user@h?x#y' does not name a listener and a host"),
        ("--public", "run=h:", "'run=h:' does not name a listener and a host"),
        ("--public", "run=", "'run=' does not name a listener and a host"),
    ],
)
def test_invalid_option_is_a_usage_error(server, option, written, told):
    """
    An unreadable option is a usage error that states the option, its value, and the values
    that it takes.
    """
    _, errors = server("start", "--port", "0", option, written, code=2)
    assert f"Invalid value for '{option}': " in errors
    assert told in " ".join(errors.split())
    assert "Traceback" not in errors


def test_limits_have_a_heading_of_their_own(server):
    """The help of ``start`` lists the options that set a limit, and no other, under a heading."""
    shown, _ = server("start", "--help")
    options, limits = shown.split("\nLimits:\n")
    names = {option_of(field.name) for field in attrs.fields(Limits)}
    assert set(re.findall(r"^  (--[a-z-]+)", limits, re.MULTILINE)) == names
    assert "\nOptions:\n" in options
    assert "  --port " in options


def test_second_public_host_of_a_listener_is_a_usage_error(server):
    """Two hosts of one listener are a usage error that names both."""
    options = ("--public", "run=a.example:8443", "--public", "ws=c.example")
    _, errors = server("start", "--port", "0", *options, "--public", "run=b.example", code=2)
    told = " ".join(errors.split())
    assert "'run=b.example' is a second host of the listener 'run'" in told
    assert "which has 'a.example:8443'. Name one." in told


def test_killed_server_keeps_its_key_and_address(start_program, programs, current):
    """
    A server that is started again at the same ports after SIGKILL has the same key and
    address.
    """
    port = programs.find_ports()
    first = start_program("--port", port)
    variables = first.wait_until_ready()
    first.end(signal.SIGKILL)
    again = start_program("--port", port).wait_until_ready()
    assert again["FAL_GRPC_HOST"] == variables["FAL_GRPC_HOST"]
    assert current(again, variables["FAL_KEY"])["nickname"] == "owner"


def test_impossible_directory_is_an_error(server, tmp_path):
    """A data directory that cannot be made is an error of one sentence."""
    (tmp_path / "data").write_text("a file")
    _, errors = server("start", "--port", "0", code=2)
    assert "Traceback" not in errors


def test_server_tells_of_runners_and_deployments(make_standing, tmp_path):
    """
    The server writes a line for each deployment and each runner, as JSON where that is no
    terminal.
    """

    def end(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        raise LookupError("no weights")

    standing = make_standing(tmp_path, "--end-runners")
    first = standing.deploy("told")
    with pytest.raises(grpc.RpcError, match="no weights"):
        standing.deploy("told", function=end)
    standing.plane.close()
    told = [json.loads(line) for line in standing.plane.program.errors.read_text().splitlines()]
    events = [each["event"] for each in told if each["event"] != "runner-ended"]
    assert events == ["runner-started", "deployed", "runner-failed", "deployment-failed"]
    assert {each["application"] for each in told} == {"owner/told"}
    (failed,) = [each for each in told if each["event"] == "deployment-failed"]
    assert "no weights" in failed["reason"]
    assert told[1]["message"].startswith(f"revision {first[:12]} serves after ")
