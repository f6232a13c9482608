"""Agents: processes that take calls from a control plane until they are told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest

from fal_server_agent.messages import TOKEN_HEADER, pack, unpack

START = "import sys; from fal_server_agent.agents import Agent; Agent(*eval(sys.argv[1]))()"


class Started:
    """An agent in a process of its own."""

    def __init__(self, token: str, paths: list[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, repr((token, paths))],
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        announced = self.process.stderr.readline()
        if not announced.startswith("control: "):
            self.process.kill()
            raise AssertionError(announced + self.process.communicate()[1])
        self.url = announced.split()[1]

    def ask(self, path: str, body: bytes = b"", token: str = "token") -> httpx.Response:
        headers = {TOKEN_HEADER: token}
        return httpx.post(
            self.url + path, content=body, headers=headers, timeout=60, trust_env=False
        )

    def call(self, function: Any, home: Path, **told: Any) -> Any:
        """Have it call a function, *told* beside what every call is, and return the value."""
        header = {
            "call": "call-1",
            "method": "cloudpickle",
            "variables": {},
            "home": str(home),
            "mounts": {},
            "directories": [],
            **told,
        }
        answer = self.ask("/call", pack(header, cloudpickle.dumps(function), b""))
        header, parts = unpack(answer.content)
        assert header["raised"] is False, header
        return cloudpickle.loads(parts[0])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def start():
    """Start agents, which end with the test."""
    started: list[Started] = []

    def start(*arguments: Any, **variables: str) -> Started:
        started.append(Started(*arguments, **variables))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.end()


def test_agent_takes_requests_with_its_token_until_it_is_drained(start):
    """
    An agent announces where it listens, answers only whoever shows its token, and ends when
    it is told to.
    """
    agent = start("token", [])
    assert agent.ask("/ping").status_code == 200
    for wrong in ("", "token2"):
        assert agent.ask("/ping", token=wrong).status_code == 403
    assert agent.end() == 0


def test_functions_see_the_packages_of_the_agent_last(start, tmp_path: Path):
    """
    The packages that an agent brings come after those of the environment, once, and no
    function sees the credentials of package indexes.
    """

    def look() -> list[Any]:
        import os
        import sys

        names = [name for name in os.environ if name.startswith("UV_INDEX_OURS")]
        return [names, os.environ["FAL_CORE_AGENT"] == str(os.getpid()), sys.path]

    known = next(each for each in sys.path if each.endswith("site-packages"))
    agent = start("token", [known, str(tmp_path)], UV_INDEX_OURS_PASSWORD="word")
    names, reads, path = agent.call(look, tmp_path / "home")
    assert (names, reads) == ([], True)
    assert path[-1] == str(tmp_path)
    assert path.count(known) == path.count(str(tmp_path)) == 1
    assert agent.end() == 0


def test_released_clients_are_led_where_that_is_told(start, tmp_path: Path):
    """
    A function finds a proxy in its variables where its agent is told which hosts lead to the
    server, the same at each call, and none otherwise.
    """

    def look() -> tuple[str, str]:
        import os

        return os.environ.get("HTTPS_PROXY", ""), os.environ["NO_PROXY"]

    (tmp_path / "bundle.pem").write_text("authority")
    led = {
        "names": ["led.example"],
        "server": ["192.0.2.1", 443],
        "bundle": str(tmp_path / "bundle.pem"),
    }
    given = {"HTTPS_PROXY": "", "NO_PROXY": "apart.example"}
    alone = start("token", [], **given)
    assert alone.call(look, tmp_path / "home") == ("", "apart.example")
    agent = start("token", [], **given)
    proxy, apart = agent.call(look, tmp_path / "home", led=led)
    assert proxy.startswith("http://fal:")
    assert apart == "127.0.0.1,localhost,::1,192.0.2.1,apart.example"
    assert agent.call(look, tmp_path / "home", led=led) == (proxy, apart)
    assert agent.end() == 0


def test_agent_whose_proxy_cannot_start_says_so(start, tmp_path: Path):
    """A call fails with a sentence where its runner cannot lead released clients to the server."""
    led = {"names": [], "server": ["192.0.2.1", 443], "bundle": str(tmp_path / "gone.pem")}
    header = {"call": "1", "home": str(tmp_path), "mounts": {}, "directories": [], "led": led}
    answer = start("token", []).ask("/call", pack(header, b"", b""))
    assert "The proxy of the runner, which leads" in unpack(answer.content)[0]["failed"]
