"""
Subscribers: clients that wait for results, with live logs, while the server is killed
and started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import read_told

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_serve")

pytestmark = pytest.mark.faults

#: Seconds that anything may take.
PATIENCE = 120

#: One application, as each library has it.
SOURCE = """
    import os
    import time
    from pathlib import Path

    from pydantic import BaseModel

    {imports}


    class Asked(BaseModel):
        who: str


    class Held({base}, keep_alive=300, max_concurrency=1, max_multiplexing=4):
        machine_type = "XS"

        @{endpoint}("/")
        def hold(self, asked: Asked) -> dict:
            print(f"{{asked.who}} is held")
            # Until the test lets it go.
            while not Path({gate!r}).exists():
                time.sleep(0.05)
            print(f"{{asked.who}} goes on")
            # Until the test lets it end.
            while not Path({end!r}).exists():
                time.sleep(0.05)
            return {{"who": asked.who, "pid": os.getpid()}}
"""

SUBSCRIBE = """
    import json, sys, threading
    import fal_client

    told = {}

    def subscribe(who):
        lines = []

        def update(status):
            for line in getattr(status, "logs", None) or ():
                if line["message"] not in lines:
                    lines.append(line["message"])
                    print(f"LINE {line['message']}", flush=True)

        result = fal_client.subscribe(
            f"owner/{who.partition('-')[0]}",
            {"who": who},
            with_logs=True,
            on_queue_update=update,
        )
        told[who] = [result, lines]

    threads = [threading.Thread(target=subscribe, args=[who]) for who in sys.argv[1:]]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print("JSON " + json.dumps(told), flush=True)
"""


@pytest.fixture
def start(
    tmp_path: Path, launch_program: Any, programs: Any
) -> Iterator[Callable[[], dict[str, str]]]:
    """
    Start the server, again at the same ports if it was killed, and return the variables
    that it prints.
    """
    port = programs.find_ports()
    started: list[Any] = []

    def run() -> dict[str, str]:
        if started:
            started[-1].end(signal.SIGKILL)
        started.append(launch_program(tmp_path / "data", "--port", port))
        return dict(started[-1].wait_until_ready())

    yield run
    started[-1].end()
    programs.end_runners(tmp_path / "data")


@pytest.mark.usefixtures("newest_clients")
def test_subscribers_of_a_server_that_is_killed(
    clients: Any,
    start: Callable[[], dict[str, str]],
    settle: Callable[..., None],
    tmp_path: Path,
) -> None:
    """
    ``fal_client.subscribe`` gets live logs and the result of its request alone, for
    applications of ``fal deploy`` and of ``fal-core deploy``, even if the server is killed
    and started again meanwhile.
    """
    variables = start()
    gate, end = tmp_path / "gate", tmp_path / "end"
    files = {}
    for name, imports, base, endpoint in (
        ("theirs", "import fal", "fal.App", "fal.endpoint"),
        ("ours", "from fal_serve import App, endpoint", "App", "endpoint"),
    ):
        files[name] = tmp_path / f"{name}.py"
        filled = textwrap.dedent(SOURCE).format(
            name=name,
            imports=imports,
            base=base,
            endpoint=endpoint,
            gate=str(gate),
            end=str(end),
        )
        files[name].write_text(filled)
    theirs = ("deploy", f"{files['theirs']}::Held", "--app-name", "theirs")
    clients.fal(*theirs, variables=variables)
    ours = ("deploy", f"{files['ours']}::Held", "--app-name", "ours")
    subprocess.run(
        [sys.executable, "-m", "fal_core.cli", *ours],
        env={**os.environ, **variables},
        check=True,
        timeout=PATIENCE,
    )

    script = tmp_path / "subscribe.py"
    script.write_text(textwrap.dedent(SUBSCRIBE))
    # One runner answers two requests side by side.
    asking = [f"{name}-{number}" for name in files for number in range(2)]
    command = [str(clients.folder / "bin" / "python"), str(script), *asking]
    printed, errors = tmp_path / "printed", tmp_path / "errors"

    def wait_for_lines(words: str) -> None:
        def have_come() -> bool:
            assert client.poll() is None, errors.read_text()
            return all(f"LINE {who} {words}" in printed.read_text() for who in asking)

        settle(have_come, hint=errors.read_text)

    with (
        printed.open("w") as out,
        errors.open("w") as err,
        subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], **variables}, stdout=out, stderr=err
        ) as client,
    ):
        try:
            wait_for_lines("is held")
            start()
            gate.touch()
            # What is printed goes another way than what is answered.
            wait_for_lines("goes on")
            end.touch()
            assert client.wait(PATIENCE) == 0, errors.read_text()
        finally:
            client.kill()
    told = read_told(printed.read_text())
    assert sorted(told) == sorted(asking)
    for who, (result, lines) in told.items():
        assert result["who"] == who
        assert f"{who} goes on" in lines
        others = set(asking) - {who}
        assert not [line for line in lines if line.split(" ")[0] in others]
