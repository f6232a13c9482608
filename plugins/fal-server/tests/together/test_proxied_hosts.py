"""
Proxied hosts: the released clients have host names in their code, which a proxy directs to
a server of one's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

HOSTS = ("rest.fal.ai", "v3.fal.media", "kv.fal.media")

APP = """
import fal
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 1

class Real(fal.App):
    machine_type = "XS"

    @fal.realtime("/realtime")
    def double(self, input: Input) -> Input:
        return Input(n=2 * input.n)
"""


class Proxy:
    """
    A proxy that connects the clients of certain hosts to another port.
    """

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._take, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _take(self, reader, writer) -> None:
        words = (await reader.readline()).split()
        while (await reader.readline()).strip():
            pass
        host = words[1].decode().partition(":")[0]
        self.asked.append(host)
        if words[0] != b"CONNECT" or host not in HOSTS:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        ways = [_pass(reader, back), _pass(there, writer)]
        await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _pass(reader, writer) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while content := await reader.read(1 << 16):
                writer.write(content)
                await writer.drain()
    finally:
        writer.close()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory, launch_program, clients, programs) -> Iterator:
    """
    A server whose certificate is for the hosts too, and a proxy that leads to it.
    """
    if clients.version != "newest":
        pytest.skip("Both have the same fal_client.")
    data = tmp_path_factory.mktemp("proxied") / "data"
    names = [word for host in HOSTS for word in ("--name", host)]
    server = programs.Applied(
        data, lambda folder, *rest: launch_program(folder, *names, *rest), clients
    )
    proxy = Proxy(int(server.variables["FAL_GRPC_HOST"].rpartition(":")[2]))
    server.variables |= {
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    yield server, proxy
    proxy.close()
    server.program.end()
    programs.end_runners(data)


def test_uploads_and_tokens(proxied, tmp_path):
    """
    ``fal_client`` uploads files, and connects to a realtime application with a token
    instead of a key.
    """
    server, proxy = proxied
    (tmp_path / "real.py").write_text(APP)
    server.fal("deploy", "real.py::Real", directory=tmp_path)
    url, told = server.python(
        """
        import json
        import fal_client

        url = fal_client.upload(b"open sesame", "text/plain", "words.txt")
        with fal_client.realtime("owner/real") as connection:
            connection.send({"n": 21})
            print("JSON " + json.dumps([url, connection.recv()]))
        """
    )
    assert told == {"n": 42}
    with server.client() as client:
        assert client.get(url).text == "open sesame"
    assert {"rest.fal.ai", "v3.fal.media"} <= {*proxy.asked}


def test_uploads_in_parts(proxied, tmp_path):
    """
    ``fal_client`` sends a file beyond 100 MB in parts, and the URL that it returns leads to
    the file.
    """
    server, _ = proxied
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        file.write(b"first")
        file.truncate(101 << 20)
    url = server.python(
        f"""
        import json
        import fal_client

        print("JSON " + json.dumps(fal_client.upload_file({str(path)!r})))
        """
    )
    assert url.endswith("/large.bin")
    with server.client() as client:
        answer = client.get(url, headers={"Range": "bytes=0-5"})
        assert answer.content == b"first\0"
        assert answer.headers["Content-Range"].endswith(f"/{101 << 20}")


def test_value_that_cannot_be_stored(proxied):
    """
    The toolkit's key-value store, which this server does not have, says so when a value is
    stored or read: no value is lost in silence, and none seems never to have been there.
    """
    server, proxy = proxied
    told = server.python(
        """
        import json
        from fal.toolkit.exceptions import KVStoreException
        from fal.toolkit.kv import KVStore

        store, told = KVStore("db"), []
        for use in (lambda: store.set("a", "b"), lambda: store.get("a")):
            try:
                told.append(f"no error: {use()}")
            except KVStoreException as error:
                told.append(str(error))
        print("JSON " + json.dumps(told))
        """
    )
    for each in told:
        assert "501: This server does not have the key-value store." in each
    assert "kv.fal.media" in proxy.asked
