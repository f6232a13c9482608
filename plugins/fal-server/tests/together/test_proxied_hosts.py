"""
Proxied hosts: the released clients have host names in their code, which a proxy directs to
a server of one's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

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


def read_variables(proxy):
    """Return the variables that the proxy prints once it runs."""
    printed = []
    while not printed or not printed[-1].startswith("# Ready"):
        printed.append(proxy.stdout.readline())
        assert printed[-1], printed
    told = [line.removeprefix("export ").strip() for line in printed if "export " in line]
    return {name: value for name, _, value in (line.partition("=") for line in told)}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory, launch_program, clients, programs) -> Iterator:
    """A server, and a proxy that leads the clients to it."""
    if clients.version != "newest":
        pytest.skip("Both have the same fal_client.")
    data = tmp_path_factory.mktemp("proxied") / "data"
    server = programs.Applied(data, launch_program, clients)
    command = [*programs.FAL_CORE, "server", "proxy", "--data", str(data), "--port", "0"]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        server.variables |= read_variables(proxy)
        yield server
    finally:
        proxy.terminate()
        assert proxy.wait(60) == 0
        proxy.stdout.close()
        server.program.end()
    programs.end_runners(data)


def test_uploads_and_tokens(proxied, tmp_path):
    """
    ``fal_client`` uploads files, and connects to a realtime application with a token
    instead of a key.
    """
    server = proxied
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


def test_uploads_in_parts(proxied, tmp_path):
    """
    ``fal_client`` sends a file beyond 100 MB in parts, and the URL that it returns leads to
    the file.
    """
    server = proxied
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


def test_values(proxied):
    """The toolkit's key-value store keeps values for their time, and deletes them."""
    server = proxied
    told = server.python(
        """
        import json
        from fal.toolkit.exceptions import KVStoreException
        from fal.toolkit.kv import KVStore

        store, told = KVStore("db"), []
        store.set("a key/of mine".replace(" ", "-"), "wörds", ttl=60)
        told += [store.get("a-key/of-mine"), KVStore("other").get("a-key/of-mine")]
        store.delete("a-key/of-mine")
        told += [store.get("a-key/of-mine")]
        try:
            store.set("a", "b", ttl=5)
        except KVStoreException as error:
            told.append(str(error))
        print("JSON " + json.dumps(told))
        """
    )
    assert told[:3] == ["wörds", None, None]
    assert "A value is kept for 60 to" in told[3]


def test_logging_out(proxied, clients, programs):
    """
    ``fal auth logout`` ends a login of ``fal-core server login``: nobody gets in with it, also
    with a copy of its file.
    """
    server, home = proxied, clients.home / ".fal"
    command = [*programs.FAL_CORE, "server", "login", "owner", "--home", str(home)]
    subprocess.run([*command, "--data", str(server.data)], check=True, capture_output=True)
    copy = (home / "auth0_token").read_text()
    logout, token = copy.splitlines()

    def ask(shown):
        with server.client("FAL_REST_HOST") as client:
            headers = {"Authorization": f"Bearer {shown}"}
            return client.get("/users/current", headers=headers).status_code

    assert (ask(token), ask(logout)) == (200, 401)
    variables = {name: it for name, it in server.variables.items() if name != "FAL_KEY"}
    printed = clients.fal("auth", "logout", "--no-browser", variables=variables)
    assert "Logged out" in printed
    assert ask(token) == 401
    assert not (home / "auth0_token").exists()
