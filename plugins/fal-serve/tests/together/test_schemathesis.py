"""A service tested by schemathesis with its own OpenAPI document."""

from __future__ import annotations

import datetime
import enum
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from fal_serve import App, endpoint

#: Requests of each endpoint that are made up, beside those that its schema enumerates.
EXAMPLES = 1000 if os.environ.get("FAL_CORE_FAULTS") == "all" else 100
PATIENCE = 1800
#: Answers that are wrong whatever was sent. Pydantic takes ``true`` for a number and
#: FastAPI answers 400 to a body that is no text, so what is refused is not judged.
CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "response_headers_conformance",
    "allow_header_conformance",
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(min_length=1, max_length=20, pattern="^[a-z]+$")
    weight: float | None = None


class Order(BaseModel):
    id: uuid.UUID
    at: datetime.datetime
    colour: Colour = Colour.RED
    parts: list[Part] = Field(max_length=4)
    notes: dict[str, int | str | bool] = {}
    size: Literal["small", "large"] = "small"
    total: int = Field(ge=0, lt=10**6)


class Shop(App, kind="current"):
    @endpoint("/")
    def order(self, order: Order) -> Order:
        return order

    @endpoint("/count")
    async def count(self, order: Order) -> int:
        return len(order.parts)

    @endpoint("/stream")
    def stream(self, part: Part) -> StreamingResponse:
        return StreamingResponse(iter([f'"{part.name}"']), media_type="application/json")

    @endpoint("/plain")
    def plain(self, text: str, number: int = 3) -> dict[str, int]:
        return {text: number}


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program, in an environment of its own, as it brings pytest plugins."""
    from uv import find_uv_bin

    folder = tmp_path_factory.mktemp("schemathesis") / "venv"
    uv = find_uv_bin()
    for command in (
        ["venv", "-q", "--python", sys.executable, folder],
        ["pip", "install", "-q", "--python", folder, "schemathesis>=4.30"],
    ):
        done = subprocess.run([uv, *command], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"schemathesis cannot be installed: {done.stderr.strip()[-300:]}")
    return folder / "bin" / "schemathesis"


@pytest.mark.faults
def test_no_request_of_the_document_breaks_it(serve, schemathesis, tmp_path):
    """Valid and invalid requests all get a response that the document describes."""
    served = serve(Shop)
    done = subprocess.run(
        [
            schemathesis,
            "--no-color",
            "run",
            f"{served.url}/openapi.json",
            "--checks",
            ",".join(CHECKS),
            "--continue-on-failure",
            "--max-examples",
            str(EXAMPLES),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 5" in done.stdout
    assert served.post("/plain", params={"text": "still", "number": 1}).json() == {"still": 1}
