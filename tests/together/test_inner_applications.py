"""Applications that use others: in a worker of this machine, and in a runner of a server."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins/fal-server/tests"))

if None in map(importlib.util.find_spec, ("fal_host_serverless", "fal_server", "fal_serve")):
    pytest.skip("A server and its client are not installed.", allow_module_level=True)

from programs import Program, end_runners  # path

from fal_core import FalServerlessException
from fal_core_worker import current
from fal_testing.harness.processes import wait_until

SOURCE = """
    import contextlib

    from fal_serve import App, AppClient, endpoint


    class Scorer(App, kind="virtualenv"):
        @endpoint("/score")
        def score(self, text: str) -> int:
            return len(text)


    class Critic(App, kind="virtualenv"):
        def setup(self) -> None:
            self.open = contextlib.ExitStack()
            self.scorer = self.open.enter_context(AppClient.connect(Scorer))

        def teardown(self) -> None:
            self.open.close()

        @endpoint("/verdict")
        def verdict(self, text: str) -> list[int]:
            with AppClient.connect(Scorer) as scorer:
                return [self.scorer.score(text), scorer.score(text)]

        @endpoint("/core")
        def core(self) -> bool:
            import importlib.metadata

            return "fal-core" in {each.name for each in importlib.metadata.distributions()}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of both applications."""
    path = tmp_path_factory.mktemp("inner") / "inner_critic.py"
    path.write_text(textwrap.dedent(SOURCE))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server, whose variables this process has."""
    program = Program(tmp_path / "data")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in program.wait_until_ready().items():
            patch.setenv(name, value)
        yield dict(os.environ)
    program.end()
    end_runners(program.data)


def test_application_in_a_worker(file: Path, monkeypatch: pytest.MonkeyPatch):
    """An application whose environment has no fal-core uses another one."""
    from fal_serve import AppClient

    # A call that another test has left on a thread of this process would be asked.
    assert wait_until(lambda: current.runtime is None, 60)
    monkeypatch.syspath_prepend(str(file.parent))
    critic: Any = importlib.import_module(file.stem).Critic
    with AppClient.connect(critic, startup_timeout=300) as client:
        assert client.core() is False
        assert client.verdict("four") == [4, 4]


@pytest.mark.parametrize("stage", ["", "staging"])
def test_application_in_a_runner(file: Path, server: dict[str, str], stage: str):
    """
    A deployed application uses the one of its account and stage that is deployed as well; as
    long as there is none, its deployment fails, and says what to do.
    """
    from fal_host_serverless import SyncServerlessClient
    from fal_host_serverless.environments import create_environment

    client = SyncServerlessClient()
    if stage:
        create_environment(client, stage)
    suffix = f"--{stage}" if stage else ""

    def ask(path: str) -> httpx.Response:
        return httpx.post(
            f"http://{server['FAL_RUN_HOST']}/owner/critic{suffix}/{path}",
            params={"text": "four"},
            headers={"Authorization": f"Key {server['FAL_KEY']}"},
            timeout=300,
        )

    options = {"environment_name": stage} if stage else {}
    option = " --env staging" if stage else ""
    with pytest.raises(FalServerlessException, match=f"FILE.py::Scorer{option}'"):
        client.deploy(f"{file}::Critic", **options)
    client.deploy(f"{file}::Scorer", **options)
    client.deploy(f"{file}::Critic", **options)
    assert ask("verdict").json() == [4, 4]
    assert ask("core").json() is False
