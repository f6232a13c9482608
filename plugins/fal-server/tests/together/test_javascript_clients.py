"""JavaScript: the released client of npm, which has host names in its code and reads no variables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import read_told

#: What the page *JavaScript* names, as npm finds it.
PACKAGES = ("@fal-ai/client@1.10.1", "undici@6.21.3")

#: Seconds that npm, and a program, may take.
PATIENCE = 300

APP = """
import fal
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 1

class Output(BaseModel):
    n: int

class Words(fal.App):
    machine_type = "XS"

    @fal.endpoint("/")
    def double(self, input: Input) -> Output:
        print("doubling")
        return Output(n=2 * input.n)

    @fal.endpoint("/stream")
    def count(self, input: Input) -> StreamingResponse:
        def items():
            for number in range(input.n):
                yield f'data: {{"n": {number}}}\\n\\n'
        return StreamingResponse(items(), media_type="text/event-stream")

    @fal.realtime("/realtime")
    def follow(self, input: Input) -> Output:
        return Output(n=3 * input.n)
"""

#: Calls an application in each way there is, and prints what came.
CALLS = """
const told = {};
const app = "owner/words";
told.run = (await fal.run(app, {input: {n: 21}})).data;
const states = new Set();
const queued = await fal.subscribe(app, {
  input: {n: 4}, pollInterval: 50, onQueueUpdate: (update) => states.add(update.status),
});
told.queued = queued.data;
told.states = [...states];
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
const submitted = await fal.queue.submit(app, {input: {n: 5}});
let status;
do {
  await pause();
  status = await fal.queue.status(app, {requestId: submitted.request_id, logs: true});
  told.lines = (status.logs ?? []).map((line) => line.message.trim());
  // What is printed comes another way than the answer.
} while (status.status !== "COMPLETED" || !told.lines.length);
told.submitted = (await fal.queue.result(app, {requestId: submitted.request_id})).data;
const stream = await fal.stream(app, {input: {n: 3}});
told.stream = [];
for await (const item of stream) told.stream.push(item.n);
told.url = await fal.storage.upload(new Blob(["open sesame"], {type: "text/plain"}));
told.file = await (await fetch(told.url)).text();
try { await fal.run("owner/nothing", {input: {}}) }
catch (error) { told.missing = error.status }
"""

REALTIME = """
told.realtime = await new Promise((resolve, reject) => {
  const connection = fal.realtime.connect(app, {
    connectionKey: "one", throttleInterval: 0, onResult: resolve, onError: reject,
  });
  connection.send({n: 14});
});
"""

END = """
console.log("JSON " + JSON.stringify(told));
process.exit(0);
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which Node finds the client."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not installed.")
    folder = tmp_path_factory.mktemp("packages")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        pytest.skip(f"npm cannot install the client: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, launch_program, clients, programs) -> Iterator[Any]:
    """A server with an application."""
    if clients.version != "newest":
        pytest.skip("The client of npm is one, whatever deploys.")
    folder = tmp_path_factory.mktemp("javascript")
    server = programs.Applied(folder / "data", launch_program, clients)
    (folder / "words.py").write_text(APP)
    try:
        server.fal("deploy", "words.py::Words", directory=folder)
        yield server
    finally:
        server.program.end()
        programs.end_runners(server.data)


def run_node(folder: Path, program: str, variables: dict[str, str]) -> Any:
    (folder / "program.js").write_text(program)
    done = subprocess.run(
        ["node", "program.js"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_told(done.stdout)


def check_calls(told: Any) -> None:
    assert told["run"] == {"n": 42}
    assert told["queued"] == {"n": 8}
    assert told["states"][-1] == "COMPLETED"
    assert told["submitted"] == {"n": 10}
    assert told["lines"] == ["doubling"]
    assert told["stream"] == [0, 1, 2]
    assert told["file"] == "open sesame"
    assert told["missing"] == 404


def page_block(name: str) -> str:
    """Return the block of the page *JavaScript* that begins with the line of *name*."""
    root = Path(__file__).resolve().parents[4]
    page = (root / "docs/how-to/javascript.md").read_text()
    [block] = [
        each.partition("\n```")[0]
        for each in page.split("```js\n")[1:]
        if each.startswith(f"// {name}\n")
    ]
    return block


def test_client_with_a_middleware_calls_applications(deployed, packages: Path):
    """A program whose middleware names the hosts of the server runs, queues, streams and uploads."""
    program = page_block("server.js").replace("export const fal", "const fal") + CALLS + END
    authority = deployed.variables["SSL_CERT_FILE"]
    variables = {**deployed.variables, "NODE_EXTRA_CA_CERTS": authority}
    check_calls(run_node(packages, program, variables))


def test_client_that_is_led_calls_applications(deployed, packages: Path, programs):
    """
    A program that knows nothing of the server is led there by a proxy, which finds it by the
    variables of the server; also its websockets are.
    """
    command = [*programs.FAL_CORE, "server", "proxy", "--port", "0", "--json"]
    proxy = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **deployed.variables}
    )
    try:
        assert proxy.stdout is not None
        printed = "".join(iter(proxy.stdout.readline, "}\n"))
        led = json.loads(f"{printed}}}")["variables"]
        variables = {
            **led,
            "FAL_KEY": deployed.variables["FAL_KEY"],
            "NODE_EXTRA_CA_CERTS": deployed.variables["SSL_CERT_FILE"],
        }
        client = 'import {fal} from "@fal-ai/client";\n'
        program = page_block("proxy.js") + client + CALLS + REALTIME + END
        told = run_node(packages, program, variables)
        check_calls(told)
        assert told["realtime"]["n"] == 42
    finally:
        proxy.terminate()
        assert proxy.wait(60) == 0
        proxy.stdout.close()
