"""The message and the annotations of a revision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless import deploy as deploying


def test_notes_reach_the_service(asking: SyncServerlessClient, recorder: Any, project: Path):
    """A revision carries message and annotations beside its OpenAPI document."""
    asking.deploy(
        "searching.py::Search",
        message="Find more",
        annotations={"commit": "1f2e3d"},
        attach_to_deployment=False,
    )
    request = recorder.last("RegisterApplication")
    assert request.HasField("attach_to_deployment")
    assert not request.attach_to_deployment
    metadata = MessageToDict(request.metadata)
    assert metadata["message"] == "Find more"
    assert metadata["annotations"] == {"commit": "1f2e3d"}
    assert "/find" in metadata["openapi"]["paths"]
    asking.deploy("searching.py::Search")
    request = recorder.last("RegisterApplication")
    assert not request.HasField("attach_to_deployment")
    found = set(MessageToDict(request.metadata))
    assert found == {"declared_paths", "openapi", "own_pages"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"message": 3}, "must be text, not 3"),
        ({"message": "x" * 2049}, "2049 characters"),
        ({"annotations": ["a"]}, "written as in"),
        ({"annotations": {"a": 1}}, "'a': 1"),
        ({"annotations": {"": "a"}}, "has a name and a text"),
        ({"annotations": {"openapi": "a"}}, "the name is reserved"),
        ({"annotations": {"declared_paths": "a"}}, "the name is reserved"),
        ({"annotations": {"k" * 65: "a"}}, "65 characters"),
        ({"annotations": {str(n): "a" for n in range(33)}}, "33 annotations"),
        ({"annotations": {"a": "é" * 9000}}, "16384 bytes"),
        ({"strategy": "recreate", "attach_to_deployment": True}, "Only a rolling"),
    ],
)
def test_wrong_notes_are_refused(
    said: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any, project: Path
):
    """Notes beyond the limits of the service are refused before a request is sent."""
    for ask in (asking.deploy, functools.partial(deploying.prepare, asking)):
        with pytest.raises(OptionError, match=words):
            ask("searching.py::Search", **said)
    assert recorder.asked == []
