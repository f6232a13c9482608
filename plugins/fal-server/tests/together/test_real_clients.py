"""
The released clients against a server: keys, secrets, stages, accounts, uploads.

The clients are unchanged; environment variables point them at the server.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def server(tmp_path_factory, launch_program):
    """A server, and the variables for it: in plain text, and over TLS."""
    program = launch_program(tmp_path_factory.mktemp("real") / "data")
    program.wait_until_ready()
    yield program
    assert program.end() == 0
    assert program.errors.read_text().count("Traceback") == 0


@pytest.fixture(params=["plain", "tls"])
def variables(request, server, clients):
    """
    The variables that ``fal-core server env`` prints, without and with ``--tls``.

    The newest clients do these over TLS and the oldest in plain text; both do both with
    FAL_CORE_FAULTS=all.
    """
    is_default = (clients.version == "newest") == (request.param == "tls")
    if not is_default and os.environ.get("FAL_CORE_FAULTS") != "all":
        pytest.skip("These clients do this with FAL_CORE_FAULTS=all.")
    flags = ["--tls"] if request.param == "tls" else []
    return json.loads(run(server, "env", "--json", *flags))


def run(server, *arguments: str) -> str:
    command = [sys.executable, "-m", "fal_core.cli", "server", *arguments]
    return subprocess.run(
        [*command, "--data", str(server.data)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout.strip()


def test_keys(clients, variables):
    """``fal keys`` creates, lists and revokes keys; a revoked key is refused."""
    printed = clients.fal(
        "keys", "create", "--scope", "API", "--desc", "n", variables=variables
    )
    id, secret = re.search(r"FAL_KEY='?([0-9a-f-]+):([0-9a-f]+)", printed).groups()
    assert id in clients.fal("keys", "list", variables=variables)
    narrow = {**variables, "FAL_KEY": f"{id}:{secret}"}
    refused = clients.fal("keys", "list", variables=narrow, check=False)
    assert "may not list keys" in refused
    assert "owner" in clients.fal("auth", "whoami", variables=narrow)
    clients.fal("keys", "revoke", id, variables=variables)
    assert id not in clients.fal("keys", "list", variables=variables)
    refused = clients.fal("keys", "list", variables=narrow, check=False)
    assert "revoked" in refused
    assert secret not in refused


def test_environments_and_secrets(clients, variables):
    """``fal environments`` and ``fal secrets`` work."""
    name = f"e{secrets.token_hex(4)}"
    clients.fal("environments", "create", name, "--description", "D", variables=variables)
    assert name in clients.fal("environments", "list", variables=variables)
    again = clients.fal("environments", "create", name, variables=variables, check=False)
    assert "already" in again
    clients.fal("secrets", "set", "ALPHA=1", "BETA=two", "--env", name, variables=variables)
    listed = clients.fal("secrets", "list", "--env", name, variables=variables)
    assert "ALPHA" in listed
    assert "two" not in listed
    clients.fal("secrets", "unset", "ALPHA", "--env", name, variables=variables)
    assert "ALPHA" not in clients.fal("secrets", "list", "--env", name, variables=variables)
    clients.fal("environments", "delete", name, "--yes", variables=variables)
    assert name not in clients.fal("environments", "list", variables=variables)


def test_whoami_and_teams(clients, server, variables):
    """
    ``fal auth whoami`` names the account of the key; with a token a user sees their
    teams, and acts for one.
    """
    assert "'owner' - 'user|" in clients.fal("auth", "whoami", variables=variables)
    team = f"t{secrets.token_hex(4)}"
    run(server, "teams", "create", team, "--member", "owner")
    home = clients.home / ".fal"
    run(server, "login", "owner", "--home", str(home))
    bearer = {name: value for name, value in variables.items() if name != "FAL_KEY"}
    try:
        listed = clients.fal("team", "list", variables=bearer)
        assert team in listed
        assert "Personal" in listed
        clients.fal("team", "set", team, variables=bearer)
        clients.fal("secrets", "set", "OF_TEAM=1", variables=bearer)
        assert "OF_TEAM" in clients.fal("secrets", "list", variables=bearer)
        clients.fal("team", "unset", variables=bearer)
        assert "OF_TEAM" not in clients.fal("secrets", "list", variables=bearer)
    finally:
        (home / "auth0_token").unlink()


def test_wrong_key_is_reported(clients, variables):
    """A wrong key is reported as wrong, and shown nowhere."""
    wrong = {**variables, "FAL_KEY": variables["FAL_KEY"][:-8] + "deadbeef"}
    printed = clients.fal("secrets", "list", variables=wrong, check=False)
    assert "not valid" in printed
    assert "deadbeef" not in printed


def test_map_by_the_connection_of_the_sdk(clients, variables):
    """
    A program that maps a function over the connection of the released SDK gets its results,
    which the SDK reads as those of runs.
    """
    code = """
import json, pickle, sys, isolate_proto
from fal.sdk import FalServerlessClient, from_grpc, get_credentials
from fal.flags import GRPC_HOST

request = isolate_proto.HostedMap(entrypoint="builtins:abs")
version = ".".join(map(str, sys.version_info[:2]))
request.environments.add(kind="virtualenv").configuration["python_version"] = version
for each in (-1, 2, "three"):
    request.inputs.add(method="pickle", definition=pickle.dumps(each))
found = []
with FalServerlessClient(GRPC_HOST, get_credentials()).connect() as connection:
    for message in connection.stub.Map(request):
        try:
            result = from_grpc(message)
        except TypeError as error:
            found.append(str(error))
        else:
            found += [result.result] if message.HasField("return_value") else []
print(json.dumps(found))
"""
    assert clients.python(code, variables=variables) == [
        1,
        2,
        "bad operand type for abs(): 'str'",
    ]


UPLOAD = """
import json, pathlib, urllib.request
from fal.file_sync import FileSync
from fal.toolkit import File

folder = pathlib.Path(FOLDER)
(folder / "script.py").write_text("")
content = bytes(range(256)) * 50_000
(folder / "large.bin").write_bytes(content)
(folder / "empty.txt").write_bytes(b"")
sync = FileSync(str(folder / "script.py"))
sent = sync.sync_files(["large.bin", "empty.txt"])
found = sent[0] if isinstance(sent, tuple) else sent
hashes = [each.hash for each in found]
missing = sync.check_hashes_on_server(hashes)
file = File.from_bytes(b"hello", content_type="text/plain", file_name="a.txt")
stored = urllib.request.urlopen(file.url).read().decode()
print(json.dumps({"missing": missing, "hashes": len(hashes), "stored": stored}))
"""


def test_uploads(clients, variables, tmp_path):
    """Files of applications, and files of the toolkit, are uploaded and there."""
    code = f"FOLDER = {str(tmp_path)!r}\n{UPLOAD}"
    told = clients.python(code, variables=variables)
    assert told["missing"] == []
    assert told["hashes"] == 2
    assert told["stored"] == "hello"
