"""
Constructs of programs for fal: with the released clients on a server, and with fal_compat on
this machine, where one line differs.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from programs import read_told

pytest.importorskip("fal_compat", reason="fal-compat is not installed")
pytest.importorskip("fal_env_virtualenv", reason="fal-env-virtualenv is not installed")

from fal_uv.testing import write_wheel  # it comes with the kind

pytestmark = pytest.mark.usefixtures("newest_clients")

RELEASED, COMPATIBLE = "import fal", "import fal_compat as fal"

#: Functions, each with the requirements of a row, and functions that are refused.
FUNCTIONS = """
IMPORT
import json, sys

PAGE, INDEX = "URL/links", "URL/simple"

def look():
    import importlib.metadata
    return importlib.metadata.version("constructs-demo")

def asked(requirements, **options):
    return fal.function(
        requirements=requirements, machine_type=["XS", "S"], keep_alive=0, **options
    )

told = {}
for name, flags, wanted in (
    ("two entries", ["--find-links", PAGE], "constructs-demo"),
    ("one entry", ["--extra-index-url " + INDEX], "constructs-demo"),
    ("an equals sign", ["--extra-index-url=" + INDEX], "constructs-demo"),
    ("prereleases", ["--pre", "--find-links", PAGE], "constructs-demo"),
    ("no needs", ["--no-deps", "--find-links", PAGE], "constructs-demo==0.9"),
):
    try:
        told[name] = asked([*flags, wanted])(look)()
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
for name, requirements, options in (
    ("unknown flag", ["--no-cache-dir", "constructs-demo"], {}),
    ("file", ["-r nowhere.txt"], {}),
    ("secret", ["no-such-package-of-ours==1"], {"secrets": ["CONSTRUCTS_TOKEN"]}),
):
    try:
        told[name] = asked(requirements, **options)(look)()
    except Exception as error:
        told[name] = str(error)
print("JSON " + json.dumps(told))
"""

#: An application, and what its client sees of it.
APPLICATION = """
IMPORT
import json, os
from fal.app import AppClient
from fal.toolkit import File
from pydantic import BaseModel
from fastapi import WebSocket

class Input(BaseModel):
    n: int = 1

class Program(fal.App, keep_alive=60, max_concurrency=1, max_multiplexing=2):
    machine_type = ["XS", "S"]
    requirements = ["--find-links", "URL/links", "constructs-demo"]

    async def setup(self):
        import importlib.metadata

        self.found = importlib.metadata.version("constructs-demo")

    @fal.endpoint("/")
    def tell(self, input: Input) -> dict:
        return {"n": input.n, "found": self.found}

    @fal.endpoint("/file")
    def file(self, input: File) -> File:
        return File._from_url(input.url)

    @fal.endpoint("/stream")
    async def stream(self, input: Input):
        from fastapi.responses import StreamingResponse

        async def items():
            for number in range(input.n):
                yield 'data: {"n": %d}\\n\\n' % number

        return StreamingResponse(items(), media_type="text/event-stream")

    @fal.endpoint("/closed", is_websocket=True)
    async def closed(self, websocket: WebSocket) -> None:
        # It is refused before it was accepted.
        await websocket.close(1008)

    @fal.realtime("/realtime")
    def double(self, input: Input) -> Input:
        return Input(n=2 * input.n)

def main():
    import httpx
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    key = {"Authorization": "Key " + os.environ.get("FAL_KEY", "none")}
    with AppClient.connect(Program) as client:
        url = client.url.rstrip("/")
        told = {"setup": client.tell({"n": 4})}
        told["file"] = client.file({"url": "https://host/a.txt"})
        told["file"] = getattr(told["file"], "url", None) or told["file"]["url"]
        answer = httpx.post(url + "/stream", json={"n": 2}, headers=key, timeout=60)
        told["stream"] = [line for line in answer.text.splitlines() if line]
        try:
            with connect(
                url.replace("http", "ws", 1) + "/closed", additional_headers=key, proxy=None
            ):
                told["closed"] = "open"
        except InvalidStatus as error:
            told["closed"] = error.response.status_code
    print("JSON " + json.dumps(told))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a page with links and of an index, which have the same distributions."""
    folder = tmp_path_factory.mktemp("index")
    for place in ("links", "simple/constructs-demo"):
        wheels = folder / place
        wheels.mkdir(parents=True)
        write_wheel(wheels, "constructs-demo", "0.9", requires=["no-such-package-of-ours"])
        write_wheel(wheels, "constructs-demo", "1.0")
        write_wheel(wheels, "constructs-demo", "2.0rc1")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=[RELEASED, COMPATIBLE], ids=["released", "compatible"])
def ask(
    request: pytest.FixtureRequest, index: str, tmp_path: Path, run_program: Callable[..., str]
) -> Callable[[str], Any]:
    """Run a program, and return what it has told."""

    def run(program: str) -> Any:
        code = program.replace("IMPORT", request.param).replace("URL", index)
        if request.param == RELEASED:
            return request.getfixturevalue("applied").python(code)
        file = tmp_path / "program.py"
        file.write_text(code.replace("from fal.", "from fal_compat."))
        return read_told(run_program(file, {}))

    return run


def test_functions(ask: Callable[[str], Any]):
    """
    Requirements take the flags of pip; what has no meaning is refused by its name, and a secret
    that is not set is told before anything is built.
    """
    told = ask(FUNCTIONS)
    refused = {name: told.pop(name) for name in ("unknown flag", "file", "secret")}
    assert told == {
        **dict.fromkeys(("two entries", "one entry", "an equals sign"), "1.0"),
        **{"prereleases": "2.0rc1", "no needs": "0.9"},
    }
    assert "'--no-cache-dir' is a flag that has no meaning" in refused["unknown flag"]
    assert "nowhere.txt" in refused["file"]
    assert "'CONSTRUCTS_TOKEN'" in refused["secret"]
    assert "is not set" in refused["secret"]


def test_application(ask: Callable[[str], Any]):
    """
    An application of the documented declarations answers requests, streams, and refuses a
    websocket before it accepts it.
    """
    assert ask(APPLICATION) == {
        "setup": {"n": 4, "found": "1.0"},
        "file": "https://host/a.txt",
        "stream": ['data: {"n": 0}', 'data: {"n": 1}'],
        "closed": 403,
    }
