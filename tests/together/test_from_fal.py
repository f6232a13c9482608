"""
Applications written for fal run on a server of one's own, with one line changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
for each in ("fal_compat", "fal_server", "PIL"):
    pytest.importorskip(each)
for folder in ("fal-server", "fal-compat"):
    sys.path.append(str(ROOT / "plugins" / folder / "tests"))

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
from polling import settle  # path
from programs import Program, end_runners  # path

#: Those that a server runs in each test of this repository; a sweep runs all.
FEW = ("text_to_image", "live_drawing", "weights", "confidential")
IS_SWEEP = os.environ.get("FAL_CORE_FAULTS") == "all"
# An image is built by an engine, which the tests of containers have.
DEPLOYED = [name for name in APPLICATIONS if name != "own_image" and (IS_SWEEP or name in FEW)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """
    A server with the applications, all deployed at once, and the variables of its clients.
    """
    from fal_compat.api import SyncServerlessClient

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
        client = SyncServerlessClient()
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
    """
    A deployed application answers as it does on fal.
    """
    from fal_compat.api import SyncServerlessClient

    alias = name.replace("_", "-")

    def end() -> None:
        client = SyncServerlessClient()
        [runner] = client.apps.runners(alias)
        client.runners.stop(runner.runner_id)
        settle(lambda: not client.apps.runners(alias))

    key = server["FAL_KEY"]
    url = f"http://{server['FAL_RUN_HOST']}/owner/{alias}"
    CHECKS[name](
        Served(url=url, headers={"Authorization": f"Key {key}"}, folder=tmp_path, end=end)
    )


def test_queue(server: dict[str, str]):
    """
    A request is put into the queue, and its answer has an image that anybody can read; the
    same image has the same URL the next time.
    """
    import fal_compat as fal

    asked = {"prompt": "a square", "seed": 3, "image_size": {"width": 8, "height": 8}}
    handle = fal.apps.submit("owner/text-to-image", asked)
    [image] = handle.get()["images"]
    assert isinstance(handle.status(), fal.apps.Completed)
    content = read(image["url"])
    assert content.startswith(b"\x89PNG")
    [same] = fal.apps.run("owner/text-to-image", asked)["images"]
    assert same == image
    assert image["file_name"].startswith(hashlib.sha256(content).hexdigest()[:32])
