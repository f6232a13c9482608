"""Files of the same name in several folders, deployed by one process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from polling import PATIENCE

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_serve")

APPLICATION = """
from beside import NUMBER
from fal_serve import App, endpoint


class A(App, keep_alive=300, max_concurrency=1):
    @endpoint("/")
    def look(self) -> int:
        return NUMBER
"""

#: Deploys one after another, and both at once.
PROGRAM = """
import asyncio
from fal_host_serverless import AsyncServerlessClient, SyncServerlessClient

client = SyncServerlessClient()
client.deploy("a/app.py::A", app_name="first")
client.deploy("b/app.py::A", app_name="second")


async def main():
    async with AsyncServerlessClient() as client:
        await asyncio.gather(
            client.deploy("a/app.py::A", app_name="third"),
            client.deploy("b/app.py::A", app_name="fourth"),
        )


asyncio.run(main())
"""


def test_one_process_deploys_files_of_one_name(standing: Any):
    """
    One process deploys files of the same name, each with the module beside it, one after
    another and at once.
    """
    for folder, number in (("a", 1), ("b", 2)):
        place = standing.folder / folder
        place.mkdir()
        (place / "app.py").write_text(APPLICATION)
        (place / "beside.py").write_text(f"NUMBER = {number}\n")
    api = f"127.0.0.1:{standing.plane.ports['api']}"
    hosts = {"FAL_GRPC_HOST": api, "FAL_REST_HOST": api, "FAL_KEY": standing.plane.key}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=standing.folder,
        env={**os.environ, "ISOLATE_TEST_MODE": "1", **hosts},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    answers = {}
    with standing.client("run") as client:
        for name in ("first", "second", "third", "fourth"):
            answers[name] = client.post(f"/owner/{name}", json={}).json()
    assert answers == {"first": 1, "second": 2, "third": 1, "fourth": 2}
