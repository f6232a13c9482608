"""Applications written for fal run on a server of one's own, with one line changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins/fal-server/tests"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins/fal-compat/tests"))

if None in map(importlib.util.find_spec, ("fal_compat", "fal_server", "PIL")):
    pytest.skip("fal-compat, fal-server or Pillow is not installed.", allow_module_level=True)

from application_checks import (  # path
    APPLICATIONS,
    CHECKS,
    EXAMPLES,
    SECRET,
    Served,
    check_store,
    read,
    serve_weights,
)
from engines import BASE, engine_for_servers  # path
from polling import settle  # path
from programs import Program, end_runners  # path

#: Those that a server runs in each test of this repository; a sweep runs all.
FEW = ("text_to_image", "live_drawing", "weights", "confidential")
IS_SWEEP = os.environ.get("FAL_CORE_FAULTS") == "all"
# An image is built by an engine, which the tests of containers have.
DEPLOYED = [name for name in APPLICATIONS if name != "own_image" and (IS_SWEEP or name in FEW)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with the applications, all deployed at once, and the variables of its clients."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("from_fal")
    with serve_weights(folder) as served, pytest.MonkeyPatch.context() as patch:
        for name, value in served.items():
            patch.setenv(name, value)
        program = Program(folder / "data", "--variable", "FAL_SERVE_DOWNLOAD_HOSTS")
        variables = dict(program.wait_until_ready())
        for name, value in variables.items():
            patch.setenv(name, value)
        client = make_client()
        client.secrets.set("MODEL_TOKEN", SECRET)

        def deploy(name: str) -> Any:
            reference = f"{EXAMPLES / name}.py::{APPLICATIONS[name]}"
            return client.deploy(reference, app_name=name.replace("_", "-"))

        with ThreadPoolExecutor(len(DEPLOYED)) as threads:
            [*threads.map(deploy, DEPLOYED)]
        yield variables
        told = program.errors.read_text()
        program.end()
        end_runners(program.data)
        assert "Traceback" not in told, told


@pytest.mark.parametrize("name", DEPLOYED)
def test_deployed_application(name: str, server: dict[str, str], tmp_path: Path):
    """A deployed application answers as it does on fal."""
    alias = name.replace("_", "-")

    def end() -> None:
        client = make_client()
        [runner] = client.apps.runners(alias)
        client.runners.stop(runner.runner_id)
        settle(lambda: not client.apps.runners(alias))

    key = server["FAL_KEY"]
    url = f"http://{server['FAL_RUN_HOST']}/owner/{alias}"
    served = Served(url=url, headers={"Authorization": f"Key {key}"}, folder=tmp_path, end=end)
    CHECKS[name](served)
    if name == "weights":
        check_store(served)


@pytest.mark.skipif(not IS_SWEEP, reason="It builds images: FAL_CORE_FAULTS=all does.")
def test_image(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    """An application with an image of its own runs in a container, on this machine too."""
    from fal_compat import app

    with engine_for_servers(tmp_path_factory), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        own_image = importlib.import_module("own_image")
        assert own_image.DOCKERFILE.split()[1] == BASE
        with app.AppClient.connect(own_image.OwnImage, startup_timeout=300) as client:
            assert client.greet() == {"greeting": "good day, you"}
        program = Program(tmp_path / "data")
        for name, value in program.wait_until_ready().items():
            patch.setenv(name, value)
        reference = f"{EXAMPLES / 'own_image.py'}::OwnImage"
        make_client().deploy(reference, app_name="own-image")
        url = f"http://{os.environ['FAL_RUN_HOST']}/owner/own-image"
        headers = {"Authorization": f"Key {os.environ['FAL_KEY']}"}
        served = Served(url=url, headers=headers, folder=tmp_path, end=lambda: None)
        assert served.ask("/?name=all") == {"greeting": "good day, all"}
        program.end()
        end_runners(program.data)


def make_client() -> Any:
    """Return a client of the server."""
    from fal_compat.api import SyncServerlessClient

    return SyncServerlessClient()


def test_queue(server: dict[str, str]):
    """
    A request is put into the queue, and its answer has an image that anybody can read; the
    same image has the same URL the next time. Files that the server refuses are an error.
    """
    import fal_compat as fal
    from fal_serve.media import FileUploadException
    from fal_serve.media.uploads import FileServer

    asked = {"prompt": "a square", "seed": 3, "image_size": {"width": 8, "height": 8}}
    handle = fal.apps.submit("owner/text-to-image", asked)
    [image] = handle.get()["images"]
    assert isinstance(handle.status(), fal.apps.Completed)
    content = read(image["url"])
    assert content.startswith(b"\x89PNG")
    [same] = fal.apps.run("owner/text-to-image", asked)["images"]
    assert same == image
    server_of_files = FileServer(address=server["FAL_GRPC_HOST"], key="wrong:key")
    with pytest.raises(FileUploadException, match=r"File 'a' could not be uploaded: .* 401"):
        server_of_files.upload(b"1", name="a", content_type="text/plain", lifecycle=None)
    assert image["file_name"].startswith(hashlib.sha256(content).hexdigest()[:32])


def test_file_that_is_sent_later(
    server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A runner gives out the URL of a file first, and sends the file then; streams and headers
    of its own reach the server too.
    """
    import fal_compat as fal
    from fal_compat.toolkit.file import FalFileRepositoryV3, LocalFileRepository

    monkeypatch.setenv("IS_ISOLATE_AGENT", "1")
    pending = fal.toolkit.File.reserve("text/plain", "later.txt", extra_headers={"x-own": "1"})
    assert pending.url.endswith("/later.txt")
    assert httpx.get(pending.url, trust_env=False).status_code == 404
    assert pending.complete(b"words").url == pending.url
    assert read(pending.url) == b"words"
    large = tmp_path / "large"
    large.write_bytes(bytes(11 << 20))
    made = fal.toolkit.File.reserve(repository=LocalFileRepository()).complete(large)
    assert len(read(made.url)) == made.file_size == 11 << 20
    streamed = LocalFileRepository().save_stream(iter([b"one ", b"two"]), "a.txt", "text/plain")
    assert read(streamed) == b"one two"
    headers = FalFileRepositoryV3().auth_headers
    assert headers == {"Authorization": f"Key {server['FAL_KEY']}"}
    assert fal.toolkit.KVStore("a").auth_headers["Authorization"].startswith("Bearer ")


def test_upload_policy_of_a_caller(server: dict[str, str]):
    """
    An upload policy reaches the application, whether its request is queued or not: here one
    that is not followed, and no image is kept elsewhere.
    """
    import fal_compat as fal

    policy = {"url": "https://bucket.example/", "fields": {"key": "${filename}"}}
    headers = {
        "Authorization": f"Key {server['FAL_KEY']}",
        "x-app-fal-upload-policy": json.dumps(policy),
    }
    asked = {"prompt": "a square", "image_size": {"width": 8, "height": 8}}
    for variable in ("FAL_RUN_HOST", "FAL_QUEUE_RUN_HOST"):
        url = f"http://{server[variable]}/owner/text-to-image"
        answer = httpx.post(url, json=asked, headers=headers, timeout=60, trust_env=False)
        if variable == "FAL_QUEUE_RUN_HOST":
            handle = fal.apps.RequestHandle("owner/text-to-image", answer.json()["request_id"])
            [*handle.iter_events()]
            answer = handle.fetch_raw_response()
        assert answer.status_code == 422, answer.text
        assert "and not to 'bucket.example'" in answer.json()["detail"]


def test_requests_over_one_websocket(server: dict[str, str]):
    """Requests are answered one after another over one websocket, whole or in parts."""
    import fal_compat as fal

    asked = {"prompt": "a square", "seed": 3, "image_size": {"width": 8, "height": 8}}
    with fal.apps.ws("owner/text-to-image") as connection:
        [image] = json.loads(connection.run(asked))["images"]
        assert read(image["url"]).startswith(b"\x89PNG")
        connection.send(asked)
        connection.send({"prompt": 3})
        assert json.loads(b"".join(as_bytes(connection.stream())))["images"] == [image]
        assert json.loads(connection.recv())["detail"][0]["loc"] == ["body", "prompt"]


def as_bytes(parts: Iterator[str | bytes]) -> Iterator[bytes]:
    """Yield *parts* as bytes."""
    yield from (each.encode() if isinstance(each, str) else each for each in parts)


def test_files(server: dict[str, str], tmp_path: Path):
    """
    A directory is sent once, without what is ignored, and files of the account are listed,
    sent in parts, read, moved, brought back and removed.
    """
    import fal_compat as fal

    sent = tmp_path / "sent"
    (sent / "deep").mkdir(parents=True)
    (sent / ".gitignore").write_text("*.log\n")
    (sent / "deep" / "a b.txt").write_text("one")
    (sent / "out.log").write_text("two")
    assert fal.sync_dir(sent, "/data/sync/here") == "sync/here"
    with pytest.raises(ValueError, match="has to begin with /data/"):
        fal.sync_dir(sent, "/elsewhere")
    files = fal.files.FalFileSystem()
    assert files.find("/data/sync") == [
        f"/data/sync/here/{each}" for each in (".fal_hash", ".gitignore", "deep/a b.txt")
    ]
    before = files.info("sync/here/deep/a b.txt")
    fal.sync_dir(sent, "/data/sync/here")
    files.invalidate_cache()
    assert files.info("/data/sync/here/deep/a b.txt") == before
    large = tmp_path / "large"
    large.write_bytes(os.urandom((21 << 20) + 5))
    files.put(str(large), "/data/models/large")
    files.mv("models/large", "models/moved")
    files.get("/data/models/moved", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert files.cat("sync/here/deep/a b.txt") == b"one"
    files.rm("models")
    assert not files.exists("models/moved")
    with pytest.raises(fal.exceptions.FalServerlessException, match="no such file"):
        files.get_file("models/moved", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
