"""Deployments with the released command line: what it is told, and how it ends."""

from __future__ import annotations

import textwrap

import pytest

APP = """
import fal

class Served(fal.App):
    def setup(self):
        {setup}

    @fal.endpoint("/")
    def echo(self) -> dict:
        return {{"release": self.release}}

    @fal.endpoint("/fail")
    def fail(self) -> dict:
        raise LookupError("marked " + str(self.release))
"""

pytestmark = pytest.mark.usefixtures("newest_clients")


@pytest.fixture(scope="module")
def deploy(applied):
    """
    Deploy the application with a *setup* under a name, check the exit code, and return what
    is printed.
    """

    def run(name: str, setup: str, *arguments: str, code: int = 0) -> str:
        file = applied.data.parent / f"{name}.py"
        file.write_text(textwrap.dedent(APP.format(setup=setup)))
        target = (f"{file}::Served", "--app-name", name)
        return str(applied.fal("deploy", *target, *arguments, code=code))

    return run


def test_unchanged_application_is_no_change(deploy):
    """``fal deploy --check`` sees no difference in an application that is deployed again."""
    deploy("unchanged", "self.release = 1")
    told = deploy("unchanged", "self.release = 1", "--check", "--yes")
    assert "No production-facing config changes detected." in told


def test_setup_that_raises(applied, deploy):
    """
    ``fal deploy`` prints what the runner of the deployment prints, and fails with its
    traceback if its setup raises, as often as it is repeated; a mended one takes over.
    """
    raising = """print("loads the weights")
        raise LookupError("no weights")"""
    for attempt in range(2):
        told = deploy("raising", raising, code=1)
        assert "loads the weights" in told
        assert "in setup" in told
        assert "LookupError: no weights" in told
        assert "of 'raising' could not be started" in told
        assert "LookupError: no weights. Its function then ended" in " ".join(told.split())
        assert "fal_server_agent" not in told, "This is a traceback of the server's own."
        assert "Deployed successfully" not in told, attempt
    deploy("raising", "self.release = 1")
    deploy("raising", raising, code=1)
    with applied.client() as client:
        assert client.post("/owner/raising", json={}).json() == {"release": 1}


def test_traceback_of_a_request(deploy, applied, settle):
    """The traceback of an error in an application is one line of its log, as it was printed."""
    deploy("traced", "self.release = 'traced-7'")
    with applied.client() as client:
        assert client.post("/owner/traced/fail", json={}).status_code == 500
    with applied.client("FAL_REST_HOST") as client:

        def found() -> list[str]:
            answer = client.get("/logs/", params={"traceback": "true"})
            messages = [each["message"] for each in answer.json()]
            return [each for each in messages if "marked traced-7" in each]

        settle(found)
        for message in found():
            assert message.count("\n") > 1
            assert '{"traceback":' not in message
            assert "in fail" in message


def test_detached_deployment(deploy, applied, settle):
    """``fal deploy --detach`` does not wait for the runner of the deployment."""
    if applied.clients.version == "1.79.1":
        pytest.skip("1.79.1 knows no such option.")
    deploy("detached", "self.release = 1")
    deploy("detached", "import time; time.sleep(3600)", "--detach")
    with applied.client() as client:
        assert client.post("/owner/detached", json={}).json() == {"release": 1}
    applied.fal("apps", "delete", "detached")
