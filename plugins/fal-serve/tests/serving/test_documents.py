"""The OpenAPI documents of applications."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, FalFastAPI, endpoint

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def described() -> ModuleType:
    """The application whose document was recorded from the SDK."""
    spec = importlib.util.spec_from_file_location("described", RECORDED / "described.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_sdk() -> dict[str, Any]:
    """
    Return the SDK's document.

    It is made now if FAL_SDK_PYTHON names a Python with the SDK. Otherwise it is the
    recording of release 1.83.0, which was made with another version of FastAPI.
    """
    python = os.environ.get("FAL_SDK_PYTHON")
    if python is None:
        return json.loads((RECORDED / "described.json").read_text())
    command = [python, str(RECORDED / "described.py")]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_document_is_the_sdks(described: ModuleType):
    """The document equals the SDK's, key by key and in the same order, but for the title."""
    ours, theirs = described.Described().openapi(), of_sdk()
    assert ours.pop("info") == {"title": "described", "version": "7"}
    theirs.pop("info")
    for document in (ours, theirs):
        # What FastAPI says of its own errors is of its version.
        for name in ("HTTPValidationError", "ValidationError"):
            assert document["components"]["schemas"].pop(name)
    assert json.dumps(ours) == json.dumps(theirs)


def test_document_is_complete_however_often_it_is_asked_for(described: ModuleType):
    """Requesting the document again changes nothing."""
    application = described.Described().build_application()
    once = json.dumps(application.openapi())
    assert json.dumps(application.openapi()) == once


class Item(BaseModel):
    name: str


class Output(BaseModel):
    length: int


class Streaming(App):
    @endpoint("/words")
    def words(self, item: Item) -> Iterator[Output]:
        yield Output(length=1)

    @endpoint("/numbers")
    async def numbers(self) -> AsyncIterator[int]:
        yield 1

    @endpoint("/anything")
    async def anything(self):
        yield 1


def test_streams_are_event_streams_of_their_items():
    """The response of a generator is described as events of its item type."""
    document = Streaming().openapi()

    def answer(path: str) -> dict[str, Any]:
        return document["paths"][path]["post"]["responses"]["200"]["content"]

    assert answer("/words") == {
        "text/event-stream": {"schema": {"$ref": "#/components/schemas/Output"}}
    }
    assert answer("/numbers") == {"text/event-stream": {"schema": {"type": "integer"}}}
    assert answer("/anything") == {"text/event-stream": {"schema": {}}}
    assert document["components"]["schemas"]["Output"]["x-fal-order-properties"] == ["length"]
    body = document["paths"]["/words"]["post"]["requestBody"]["content"]["application/json"]
    assert body == {"schema": {"$ref": "#/components/schemas/Item"}}


def test_websockets_with_models_are_mirrored_as_post():
    """A websocket route has its protocol, and an operation that describes its messages."""

    async def talk(websocket: Any) -> None:
        """Talk."""

    application = FalFastAPI()
    application.add_websocket_route_with_metadata(
        RouteSignature(
            "/talk",
            is_websocket=True,
            input_modal=Item,
            output_modal=Output,
            realtime_mode="bidi",
            content_type="application/msgpack",
            buffering=5,
            session_timeout=9.5,
            max_batch_size=4,
        ),
        talk,
    )
    path = application.openapi()["paths"]["/talk"]
    assert path["x-fal-protocol"] == {
        "type": "realtime",
        "operationId": "talk",
        "config": {"buffering": 5, "sessionTimeout": 9.5, "maxBatchSize": 4},
        "contentType": "application/msgpack",
        "realtimeMode": "bidi",
    }
    assert path["post"]["operationId"] == "talk_post"
    assert path["post"]["requestBody"]["content"]["application/json"] == {
        "schema": {"$ref": "#/components/schemas/Item"}
    }
    answer = path["post"]["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"$ref": "#/components/schemas/Output"}}
    assert application.openapi()["x-fal-order-paths"] == ["/talk"]
