"""The page on deployment: its files are what the programs take that read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/deployment.md"


def blocks(language: str, holding: str = "") -> list[str]:
    """Return the blocks of code in *language* that have the text *holding*."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    chosen = [block for block in found if holding in block]
    assert chosen
    return chosen


def need(program: str) -> str:
    """Return the path of *program*, or skip the test."""
    path = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed.")
    return path


def check(*command: str) -> str:
    """Run a command that has to succeed, and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", blocks("ini"), ids=["application", "server"])
def test_units_are_units_of_systemd(unit: str, tmp_path: Path) -> None:
    """systemd reads each unit without a complaint."""
    file = tmp_path / "page.service"
    file.write_text(unit.replace("/opt/fal-core/bin/fal-core", sys.executable), "utf-8")
    assert not check(need("systemd-analyze"), "verify", "--man=no", str(file))


@pytest.mark.parametrize(
    "config", blocks("text", "reverse_proxy"), ids=["application", "server"]
)
def test_caddy_takes_its_file(config: str, tmp_path: Path) -> None:
    """Caddy reads each Caddyfile, and finds it laid out as it would itself."""
    caddy = need("caddy")
    file = tmp_path / "Caddyfile"
    file.write_text(config, "utf-8")
    check(caddy, "adapt", "--config", str(file))
    assert check(caddy, "fmt", str(file)).startswith(config)


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    """nginx reads its configuration, with a certificate that is there."""
    nginx, openssl = need("nginx"), need("openssl")
    names = [str(tmp_path / name) for name in ("fal.example.com.pem", "fal.example.com.key")]
    making = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x"
    check(openssl, *making.split(), "-out", names[0], "-keyout", names[1])
    (config,) = blocks("nginx")
    kept = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = tmp_path / "nginx.conf"
    config = config.replace("/etc/ssl", str(tmp_path))
    file.write_text(
        f"pid {tmp_path / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{kept}{config}}}\n",
        "utf-8",
    )
    check(nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(file))


def test_server_takes_its_options() -> None:
    """The options that the unit and the containers start the server with are options of it."""
    pytest.importorskip("fal_server")
    from fal_server.commands.server_commands import start

    (unit,) = blocks("ini", "server start")
    written = re.search(r"server start (.*?)\nRestart", unit, re.S)
    assert written is not None
    words = shlex.split(written[1].replace("\\\n", " "))
    context = start.make_context("start", words)
    listeners = ("api", "run", "queue", "ws")
    assert context.params["public"] == {each: f"{each}.fal.example.com" for each in listeners}
    (composed,) = blocks("yaml", "services:")
    for name, host in context.params["public"].items():
        assert f"--public {name}={host}" in composed
