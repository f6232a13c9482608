"""Applications that the released clients run and deploy."""

from __future__ import annotations

import json
import re
import signal
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

APP = """
import asyncio, os
import fal
from fal.exceptions import FieldException
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 1

class Echo(fal.App, keep_alive=300, max_concurrency=3, max_multiplexing=2):
    machine_type = "XS"

    def setup(self):
        self.release = {release!r}

    @fal.endpoint("/")
    def echo(self, input: Input) -> dict:
        print("echoing", input.n)
        return {{"n": input.n, "pid": os.getpid(), "release": self.release}}

    @fal.endpoint("/wait")
    async def wait(self, input: Input) -> dict:
        await asyncio.sleep(input.n / 10)
        return {{"n": input.n, "pid": os.getpid(), "release": self.release}}

    @fal.endpoint("/fail")
    def fail(self, input: Input) -> dict:
        raise FieldException("n", "is wrong")

    @fal.endpoint("/stream")
    async def stream(self, input: Input):
        from fastapi.responses import StreamingResponse

        async def items():
            for number in range(input.n):
                yield f"data: {{{{\\"k\\": {{number}}}}}}\\n\\n"

        return StreamingResponse(items(), media_type="text/event-stream")

    @fal.realtime("/realtime")
    def double(self, input: Input) -> Input:
        return Input(n=2 * input.n)
"""

#: Seconds that anything may take.
PATIENCE = 120


@pytest.fixture(scope="module")
def deploy(applied):
    """Deploy a release of the application under a name."""

    def run(name: str, release: int = 1, *arguments: str) -> str:
        file = applied.data.parent / f"app_{name}_{release}.py"
        file.write_text(textwrap.dedent(APP.format(release=release)))
        printed = applied.fal("deploy", f"{file}::Echo", "--app-name", name, *arguments)
        return str(printed)

    return run


def call(applied, name: str, n: int = 1, path: str = "", **headers: str):
    with applied.client() as client:
        answer = client.post(f"/owner/{name}{path}", json={"n": n}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def runners_of(applied, name: str) -> list[dict]:
    return json.loads(applied.fal("apps", "runners", name, "--json").splitlines()[-1])[
        "runners"
    ]


def test_application_of_a_run(applied, settle):
    """An application lives as long as the run that brought it, and is reached meanwhile."""
    file = applied.data.parent / "ephemeral.py"
    file.write_text(APP.format(release=0))
    answer, url = applied.python(
        f"""
        import json, sys
        sys.path.insert(0, {str(file.parent)!r})
        from ephemeral import Echo
        from fal.app import AppClient

        with AppClient.connect(Echo) as client:
            print("JSON " + json.dumps([client.echo({{"n": 4}}), client.url]))
        """
    )
    assert answer["n"] == 4
    with applied.client() as client:
        settle(lambda: client.post(url, json={"n": 4}).status_code == 404)


def test_deployed_application(applied, deploy):
    """A deployed application is listed, answers its owner alone, and returns its own response."""
    deploy("first")
    assert call(applied, "first", 3)["n"] == 3
    assert "first" in applied.fal("apps", "list")
    with applied.client() as client:
        refused = client.post("/owner/first/fail", json={"n": 1})
        assert refused.status_code == 422
        assert client.get("/owner/first/missing").status_code == 404
        del client.headers["Authorization"]
        assert client.post("/owner/first", json={"n": 1}).status_code == 401


def test_streams_and_realtime(applied, deploy):
    """Streams and realtime connections pass through the gateways."""
    deploy("streams")
    assert applied.python(
        """
        import json
        import fal_client
        from fal import apps

        items = list(fal_client.stream("owner/streams", {"n": 3}))
        with apps._connect("owner/streams") as connection:
            doubled = connection.run({"n": 21})
        print("JSON " + json.dumps([items, doubled]))
        """
    ) == [[{"k": 0}, {"k": 1}, {"k": 2}], {"n": 42}]


def test_pipelined_requests(applied, deploy):
    """Requests that are sent at once over one websocket are answered in order."""
    if applied.clients.version == "1.79.1":
        pytest.skip("1.79.1 knows no variable for the host of pipelined websockets.")
    deploy("piped")
    assert applied.python(
        """
        import json
        from fal import apps

        with apps.ws("owner/piped") as connection:
            connection.send({"n": 7})
            connection.send({"n": 8})
            both = [json.loads(connection.recv())["n"], json.loads(connection.recv())["n"]]
        print("JSON " + json.dumps(both))
        """
    ) == [7, 8]


def test_printed_page_opens(applied, deploy):
    """The page that a deployment prints for each endpoint opens in a browser."""
    printed = deploy("shown", 1, "--auth", "public")
    pages = re.findall(r"http://\S+/owner/shown\S*#/\S*", printed)
    assert f"http://{applied.variables['FAL_RUN_HOST']}/owner/shown/playground#/wait" in pages
    answer = httpx.get(pages[0], trust_env=False, timeout=PATIENCE)
    assert answer.status_code == 200
    document = pages[0].partition("/playground")[0] + "/openapi.json"
    answer = httpx.get(document, trust_env=False, timeout=PATIENCE)
    assert "/wait" in answer.json()["paths"]


@pytest.mark.usefixtures("newest_clients")
def test_settings_survive_a_deployment(applied, deploy):
    """Settings made by hand stay with the next deployment, unless it resets them."""
    deploy("kept")
    applied.fal("apps", "scale", "kept", "--keep-alive", "77", "--max-concurrency", "4")
    deploy("kept", 2)
    assert "77" in row(applied, "kept").split()
    deploy("kept", 3, "--reset-scale")
    assert "77" not in row(applied, "kept").split()


def row(applied, name: str) -> str:
    lines = applied.fal("apps", "list").splitlines()
    return next(line for line in lines if name in line)


@pytest.mark.usefixtures("newest_clients")
def test_rolling_deployment_drops_no_request(applied, deploy):
    """
    Requests are answered all through a deployment, and by the new release as soon as the
    command line reports it, with ``--attach`` and without.
    """
    deploy("rolling")
    call(applied, "rolling")
    ended = threading.Event()

    def load() -> set[int]:
        releases = set()
        while not ended.is_set():
            releases.add(call(applied, "rolling", 1, "/wait")["release"])
        return releases

    with ThreadPoolExecutor(3) as threads:
        loads = [threads.submit(load) for _ in range(3)]
        deploy("rolling", 2)
        releases = [call(applied, "rolling")["release"]]
        if applied.clients.version != "1.79.1":
            # That one knows no such option.
            deploy("rolling", 3, "--attach")
            releases.append(call(applied, "rolling")["release"])
        ended.set()
        assert releases == [2, 3][: len(releases)]
        assert set().union(*(each.result() for each in loads)) <= {1, 2, 3}
    revisions = applied.fal("apps", "list-rev", "rolling")
    assert len(re.findall(r"\b[0-9a-f]{32}\b", revisions)) == 1 + len(releases)


@pytest.mark.usefixtures("newest_clients")
def test_stopped_and_killed_runners(applied, deploy, settle):
    """A runner that is stopped or killed is replaced when it is needed."""
    deploy("ended")
    pids = set()
    for verb in ("stop", "kill"):
        pids.add(call(applied, "ended")["pid"])
        (runner,) = runners_of(applied, "ended")
        applied.fal("runners", verb, runner["runner_id"])
        settle(lambda: not runners_of(applied, "ended"))
    pids.add(call(applied, "ended")["pid"])
    assert len(pids) == 3
    assert "not found" in applied.fal("runners", "kill", "nobody", check=False)


def test_queue(applied, deploy):
    """Both clients submit, follow with live logs, and get the result."""
    deploy("queued")
    sdk, result, completed, logs, cancelled = applied.python(
        """
        import json, time
        import fal_client
        from fal import apps

        sdk = apps.submit("owner/queued", {"n": 5}).get()["n"]
        handle = fal_client.submit("owner/queued", {"n": 6})
        result = handle.get()["n"]
        # What is printed goes another way than what is answered.
        while not (status := handle.status(with_logs=True)).logs:
            time.sleep(0.1)
        slow = [fal_client.submit("owner/queued/wait", {"n": 100}) for _ in range(12)]
        slow[-1].cancel()
        cancelled = slow[-1].status().error
        print("JSON " + json.dumps([
            sdk, result, type(status).__name__, [each["message"] for each in status.logs],
            cancelled,
        ]))
        """
    )
    assert (sdk, result, completed) == (5, 6, "Completed")
    assert logs[0] == "echoing 6"
    assert cancelled == "The request was cancelled."


@pytest.mark.usefixtures("newest_clients")
def test_killed_server_loses_no_request(applied, deploy, settle):
    """A killed server finds its runners and its requests again when it is started."""
    deploy("durable")
    pid = call(applied, "durable")["pid"]
    with applied.client("FAL_QUEUE_RUN_HOST") as client:
        submitted = [
            client.post("/owner/durable/wait", json={"n": n % 10}).json()["request_id"]
            for n in range(40)
        ]
        applied.program.end(signal.SIGKILL)
        applied.start()
    with applied.client("FAL_QUEUE_RUN_HOST") as client:
        for n, request_id in enumerate(submitted):
            url = f"/owner/durable/requests/{request_id}"
            settle(lambda url=url: client.get(f"{url}/status").status_code == 200)
            assert client.get(url).json()["n"] == n % 10
    assert pid in {call(applied, "durable")["pid"] for _ in range(3)}


@pytest.mark.usefixtures("newest_clients")
def test_earlier_revision_after_a_restart(applied, deploy, settle):
    """A server that was started again knows revisions without an alias."""
    deploy("back")
    deploy("back", 2)
    applied.program.end()
    applied.start()
    listed = re.findall(r"\b[0-9a-f]{32}\b", applied.fal("apps", "list-rev", "back"))
    applied.fal("apps", "set-rev", "back", listed[-1])
    settle(lambda: call(applied, "back")["release"] == 1)
