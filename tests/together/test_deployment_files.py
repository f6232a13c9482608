"""The files of a deployment on several machines: they are what the programs take that read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/deployment"

PUBLIC = {each: f"{each}.fal.example.com" for each in ("api", "run", "queue", "ws")}


def need(program: str) -> str:
    """Return the path of *program*, or skip the test."""
    path = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed.")
    return path


def check(*command: str, **options: Any) -> str:
    """Run a command that has to succeed, and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(words: list[str], variables: dict[str, str]) -> dict[str, Any]:
    """Return what the command that starts a server reads of its options and variables."""
    pytest.importorskip("fal_server")
    from fal_server.commands.server_commands import start

    assert words[0] == "start"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return start.make_context("start", words[1:]).params


def test_unit_is_one_of_systemd(tmp_path: Path) -> None:
    """systemd reads the unit without a complaint, and the server the options in it."""
    text = (FOLDER / "fal-core-server.service").read_text("utf-8")
    written = re.search(r"fal-core server (start .*?)\nRestart", text, re.S)
    assert written is not None
    told = read(shlex.split(written[1].replace("\\\n", " ")), {})
    assert (told["public"], told["host"]) == (PUBLIC, "%H")
    file = tmp_path / "fal-core-server.service"
    file.write_text(text.replace("/opt/fal-core/bin/fal-core", sys.executable), "utf-8")
    assert not check(need("systemd-analyze"), "verify", "--man=no", str(file))


def test_caddy_takes_its_file() -> None:
    """Caddy reads its file, and finds it laid out as it would itself."""
    caddy, file = need("caddy"), FOLDER / "Caddyfile"
    check(caddy, "adapt", "--config", str(file))
    assert check(caddy, "fmt", str(file)).startswith(file.read_text("utf-8"))


def test_servers_of_the_compose_file_are_alike(tmp_path: Path) -> None:
    """
    podman-compose reads the file. Its servers have one database, one store of files and one
    key of secrets, and each has a name by which the proxy and the other one reach it.
    """
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("podman_compose", reason="podman-compose is not installed.")
    shutil.copy(FOLDER / "compose.yaml", tmp_path)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=a1\n")
    (tmp_path / "secrets.key").write_text("0" * 64)
    # It asks for the version of the engine, whichever that is.
    need("podman")
    command = [sys.executable, "-m", "podman_compose", "config"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    composed = yaml.safe_load(done.stdout)
    services = composed["services"]
    assert services.keys() == {"database", "server-1", "server-2", "proxy"}
    told = []
    for name in ("server-1", "server-2"):
        service = services[name]
        assert service["hostname"] == name
        told.append(read(service["command"], service["environment"]))
        assert (told[-1].pop("host"), told[-1]["public"]) == (name, PUBLIC)
        assert f"{name}:6001" in (FOLDER / "Caddyfile").read_text()
    assert told[0] == told[1]
    assert told[0]["database"] == "postgresql://fal:a1@database/fal"
    assert told[0]["files"] == "file:///shared"
    assert told[0]["secrets_key"] == Path("/run/secrets/secrets-key")
