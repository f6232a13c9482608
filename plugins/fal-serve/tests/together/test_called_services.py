"""Services that are called instead of spawned, in programs of their own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_core import function
from fal_core.errors import OptionError
from fal_testing.harness.processes import python_programs

PATIENCE = 60.0

PROGRAM = """
from collections.abc import Iterator
from fal_core import function
from fal_serve import App, endpoint

@function("current", serve=True)
def plain() -> list[str]:
    return ["answer"]

@function("current", serve=True)
async def later() -> list[str]:
    return ["answer"]

@function("current", serve=True)
def items() -> Iterator[str]:
    yield "answer"

class Application(App, kind="current"):
    @endpoint("/")
    def answer(self) -> list[str]:
        return ["answer"]

application = Application.to_function()

if __name__ == "__main__":
    print("returned", CALL)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Run the program with a call in it, and end it with the test."""
    with python_programs() as start_python:

        def run(call: str) -> subprocess.Popen[str]:
            script = tmp_path / "program.py"
            script.write_text(PROGRAM.replace("CALL", call))
            return start_python(str(script))

        yield run


@pytest.mark.parametrize(
    "call",
    ["plain()", "later()", "items()", "application()", "plain.run_local(exposed_port=0)"],
)
def test_service_that_is_called_says_where_it_serves(start, call: str):
    """Its URL is the first line on the standard error, and it serves until it is interrupted."""
    process = start(call)
    name, _, url = process.stderr.readline().strip().partition(": ")
    assert name == "run"
    assert "answer" in httpx.post(url, timeout=PATIENCE).text
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out.endswith("returned None\n")
    assert "Traceback" not in err


WAYS = {
    "map": lambda: list(double.map([4])),
    "submit": lambda: double.submit(4).result(PATIENCE),
    "aio": lambda: asyncio.run(later(double)),
    "run_local": lambda: double.run_local(4),
    "call": lambda: double(4),
    "spawn": lambda: double.spawn(4),
    "keyword": lambda: double(number=4),
}


@function("current", serve=True)
def double(number: int) -> int:
    return 2 * number


async def later(served: Any) -> Any:
    return await served.aio(4)


@pytest.mark.parametrize("way", WAYS)
def test_service_that_is_called_like_a_function_says_what_to_do(way: str):
    """A served function takes its arguments from requests: a call with some is an error."""
    with pytest.raises(OptionError, match=r"'double' is served: .* double\.spawn\(\)"):
        WAYS[way]()


@pytest.mark.parametrize(
    ("call", "kept"), [("plain", "plain"), ("application", r"Application.to_function()")]
)
def test_service_that_ends_with_its_program_is_named(start, call: str, kept: str):
    """It is said that a spawned service ends with the program, and how to keep it, as written."""
    _, err = start(f"{call}.spawn().await_url({PATIENCE})").communicate(timeout=PATIENCE)
    name = kept.partition(".")[0]
    assert err == (
        f"Spawned service {name!r} ends with this program. It answers as long as the program "
        f"runs; to keep it, spawn {kept}.with_policy(lifetime='detached').\n"
    )
