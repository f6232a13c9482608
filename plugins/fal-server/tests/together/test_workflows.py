"""Workflows, as the released SDK publishes them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("newest_clients")

PROGRAM = """
import json
import fal, fal_client
from fal.workflows import create_workflow
from pydantic import BaseModel

class Input(BaseModel):
    word: str

class Output(BaseModel):
    words: list

workflow = create_workflow("twice", Input, Output)
first = workflow.run("owner/app", {"name": workflow.input.word})
second = workflow.run("owner/app/echo", {"name": first.told.name, "more": [first.path]})
workflow.set_output({"words": [first.told.name, second.told]})
name = workflow.publish("Twice", is_public=False)
told = [name, fal_client.subscribe(f"workflows/{name}", {"word": "sesame"})]
told.append(fal.apps.run(f"workflows/{name}", {"word": "again"}))
failing = create_workflow("failing", Input, Output)
failing.set_output(failing.run("owner/app/fail", {"name": "x"}))
failing.publish("Failing", is_public=False)
try:
    fal_client.subscribe("workflows/owner/failing", {"word": "x"})
except fal_client.FalClientHTTPError as error:
    told.append(str(error))
broken = create_workflow("broken", Input, Output)
broken.set_output({"x": broken.run("nowhere", {"name": "x"})})
try:
    broken.publish("Broken")
except RuntimeError as error:
    told.append(str(error))
print(json.dumps(told))
"""


def test_released_sdk(standing, clients):
    """
    A published workflow runs its nodes, which are applications of the server, and is called as
    ``workflows/owner/name``; the error of a node is that of the workflow, and a workflow that
    cannot be run is refused. Once it is deleted it is not there.
    """
    standing.deploy("app", max_multiplexing=10)
    variables = {**standing.plane.variables}
    told = clients.python(PROGRAM, variables=variables)
    name, first, again, failed, broken = told
    assert name == "owner/twice"
    more = {"name": "sesame", "more": ["/"]}
    assert first == {"words": ["sesame", more]}
    assert again["words"][0] == "again"
    assert "It is wrong." in failed
    assert "must be an application" in broken
    with standing.plane.client() as client:
        assert client.delete("/workflows/owner/twice").status_code == 204
        assert client.delete("/workflows/owner/twice").status_code == 404
        assert client.delete("/workflows/other/failing").status_code == 404
    with standing.client() as client:
        assert client.post("/workflows/owner/twice", json={}).status_code == 404
