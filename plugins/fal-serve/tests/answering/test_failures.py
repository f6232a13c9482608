"""Responses to requests that fail."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi import Body, HTTPException
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fal_serve import (
    App,
    AppException,
    CUDAOutOfMemoryException,
    FieldException,
    RequestCancelledException,
    catch_gpu_exceptions,
    endpoint,
    realtime,
)

UNITS = "x-fal-billable-units"


class Sized(BaseModel):
    size: float
    name: str = ""


#: Raised by every request that asks for it.
SHARED = RuntimeError("raised again and again")


class NVMLError(Exception):
    __module__ = "pynvml"


def raise_it(what: str) -> Any:
    errors = {
        "app": AppException("not like this", 418),
        "field": FieldException("size", "too large"),
        "field-more": FieldException("size", "no", 409, "conflict", 1.5),
        "field-unbilled": FieldException("size", "no", billable_units=None),
        "cancelled": RequestCancelledException(),
        "cuda": RuntimeError("CUDA error: an illegal memory access was encountered"),
        "memory": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
        "nvml": NVMLError("driver not loaded"),
        "own": CUDAOutOfMemoryException(),
        "value": ValueError("cuda is no valid choice"),
        "http": HTTPException(403, "go away", {"x-why": "because"}),
        "missing": HTTPException(404, "no such picture", {UNITS: "3"}),
        "missing-plain": HTTPException(404),
        "malformed": HTTPException(400, "not well"),
        "surrogate": KeyError("\ud800"),
        "shared": SHARED,
        "traced": OverflowError("raised once"),
    }
    raise errors[what]


class Failing(App, kind="current"):
    @endpoint("/raise/{what}")
    def fail(self, what: str) -> None:
        raise_it(what)

    @endpoint("/raise-async/{what}")
    async def fail_async(self, what: str) -> None:
        raise_it(what)

    @endpoint("/caught")
    @catch_gpu_exceptions()
    async def caught(self) -> None:
        raise RuntimeError("NCCL error in: unhandled system error")

    @endpoint("/size")
    def size(self, sized: Sized) -> float:
        return sized.size

    @endpoint("/any")
    def any(self, sized: int = Body()) -> int:
        return sized

    @realtime("/talk")
    def talk(self, text: str) -> str:
        return text

    @endpoint("/late")
    def late(self) -> Any:
        def pieces():
            yield b"first"
            raise LookupError("late secret")

        return StreamingResponse(pieces())

    @endpoint("/wrong-type")
    def wrong_type(self) -> int:
        return "no number"  # type: ignore[return-value]  # wrong on purpose


def is_error_of(line: Any, request_id: str) -> bool:
    """Tell whether *line* of the log is the error of a request."""
    return line.level == "ERROR" and line.request_id == request_id


@pytest.fixture(scope="module")
def served(serve):
    return serve(Failing)


@pytest.mark.parametrize("path", ["raise", "raise-async"])
@pytest.mark.parametrize(
    ("what", "status", "detail", "units"),
    [
        ("app", 418, "not like this", None),
        (
            "field",
            422,
            [{"loc": ["body", "size"], "msg": "too large", "type": "value_error"}],
            "0",
        ),
        (
            "field-more",
            409,
            [{"loc": ["body", "size"], "msg": "no", "type": "conflict"}],
            "1.50000000",
        ),
        (
            "field-unbilled",
            422,
            [{"loc": ["body", "size"], "msg": "no", "type": "value_error"}],
            None,
        ),
        ("cancelled", 499, "The request was cancelled by the client.", None),
        ("cuda", 503, "GPU error", None),
        ("memory", 503, "CUDA error: out of memory", None),
        ("cudnn", 503, "CUDA error: out of memory", None),
        ("nvml", 503, "GPU error", None),
        ("own", 503, "CUDA error: out of memory", None),
        ("value", 500, "Internal Server Error", None),
        ("http", 403, "go away", None),
        ("missing", 404, "no such picture", "3"),
        ("missing-plain", 404, "Not Found", None),
        ("malformed", 400, "not well", None),
        ("surrogate", 500, "Internal Server Error", None),
    ],
)
def test_exception_has_its_answer(served, path, what, status, detail, units):
    """Each exception has its status and detail, from handlers of any kind."""
    answer = served.post(f"/{path}/{what}")
    assert answer.status_code == status
    assert answer.json() == {"detail": detail}
    assert answer.headers.get(UNITS) == units


def test_headers_of_an_http_exception_are_kept(served):
    """The headers of an HTTPException reach the client."""
    assert served.post("/raise/http").headers["x-why"] == "because"


def test_gpu_errors_that_are_caught(served):
    """catch_gpu_exceptions leads to a 503 as well, from within a coroutine."""
    answer = served.post("/caught")
    assert (answer.status_code, answer.json()) == (503, {"detail": "GPU error"})


def test_unknown_path_is_named_and_free(served):
    """The response to an unknown path names it, and is not billed."""
    answer = served.post("/not/there")
    assert answer.status_code == 404
    assert "/not/there" in answer.json()["detail"]
    assert answer.headers[UNITS] == "0"


def test_request_at_a_websocket_is_told_what_is_there(served):
    """The response to a request at a websocket's path says so."""
    for answer in (served.client.get("/talk"), served.post("/talk")):
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("Path /talk is a websocket: connect")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere", "Path /nowhere does not exist."),
        ("/h%C3%A4%0A", "Path /hä\n does not exist."),
        (
            "/size",
            "Path /size is not a websocket: send requests to it, at a URL with http.",
        ),
    ],
)
def test_websocket_that_does_not_exist_is_told(served, path: str, said: str):
    """A websocket at an unknown path gets the same response as a request."""
    with pytest.raises(InvalidStatus) as caught, connect(f"ws{served.url[4:]}{path}"):
        pass
    answer = caught.value.response
    assert (answer.status_code, answer.headers[UNITS]) == (404, "0")
    assert json.loads(answer.body or b"") == {"detail": said}

    served.post("/size", content=b"2", headers={"x-fal-request-id": f"after {path}"})
    served.find_line(f"after {path}")
    assert not any("handshake" in line.message for line in served.lines)


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_body_that_is_not_read_as_json_is_told_why(served, headers: dict[str, str]):
    """The message names the missing header, and only for errors of the body."""
    body = b'{"size": 2}'
    answer = served.client.post("/size", content=body, headers=headers)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert "with the header 'Content-Type: application/json'" in detail["msg"]

    json_header = {"content-type": "application/json"}
    assert served.client.post("/size", content=body, headers=json_header).json() == 2
    wrong = served.client.post("/size", content=b"{}", headers=json_header)
    assert wrong.json()["detail"][0]["msg"] == "Field required"


@pytest.mark.parametrize("path", ["raise", "raise-async"])
def test_error_that_is_raised_again_is_in_the_log_again(served, path):
    """Each request logs its traceback once, even if the exception object is the same."""
    ids = [f"{path}-{number}" for number in range(3)]
    for each in ids:
        answer = served.post(f"/{path}/shared", headers={"x-fal-request-id": each})
        assert answer.status_code == 500
    served.find_line(f'"request_id":"{ids[-1]}"')
    for each in ids:
        errors = [line for line in served.lines if is_error_of(line, each)]
        assert len(errors) == 1
        assert "raised again and again" in errors[0].message


def test_a_client_is_told_of_the_log_while_the_service_is_developed(serve, monkeypatch):
    """Under ``fal-core run`` the answer names the request, whose traceback is in the output."""
    monkeypatch.setenv("FAL_SERVE_DEVELOPING", "1")
    developed = serve(Failing)
    answer = developed.post("/raise/value", headers={"x-fal-request-id": "seen"})
    assert answer.status_code == 500
    assert answer.json() == {
        "detail": "Internal Server Error. The traceback of request seen is in the output of "
        "'fal-core run'."
    }


def test_traceback_goes_to_the_log_alone(served):
    """
    An unexpected error is one line of JSON in the log, from the user's frame on, with the
    request's id and time; the client sees none of it.
    """
    answer = served.post("/raise/traced", headers={"x-fal-request-id": "traced"})
    assert answer.json() == {"detail": "Internal Server Error"}
    line = served.find_line("OverflowError: raised once")
    assert (line.level, line.request_id) == ("ERROR", "traced")
    facts = json.loads(line.message)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts["time"])
    text = facts["traceback"]
    first = text.splitlines()[1]
    assert first.endswith("in fail")
    assert text.rstrip().endswith("OverflowError: raised once")


def test_error_after_the_first_byte(served):
    """A response that fails after its start is broken off, and its error is logged once."""
    with pytest.raises(Exception, match="incomplete"):
        served.post("/late", headers={"x-fal-request-id": "late"})
    line = served.find_line("late secret")
    assert json.loads(line.message)["traceback"].count("LookupError: late secret") == 1
    served.post("/raise/http")
    served.find_line('"status":403')
    assert sum("late secret" in each.message for each in served.lines) == 1
    assert [each for each in served.lines if is_error_of(each, "late")] == [line]


def test_output_of_a_wrong_type_is_the_services_fault(served):
    """An output of the wrong type is answered with 500, and logged."""
    assert served.post("/wrong-type").status_code == 500
    assert "ResponseValidationError" in served.find_line("ResponseValidationError").message


@pytest.mark.parametrize(
    "body",
    [
        b'{"size": NaN, "name": 3}',
        b'{"size": Infinity, "name": -Infinity}',
        b'{"size": "\\ud800"}',
        b'{"size": {"\\ud800": [1e999]}}',
        b"\xff\xfe",
        b"{",
        b"",
        b"[" * 100_000,
        b"[" * 200 + b"]" * 200,
        b"1" * 5000,
    ],
)
@pytest.mark.parametrize("path", ["/size", "/any"])
def test_what_validation_echoes_is_safe(served, path: str, body: bytes):
    """An invalid request is answered with 422 whatever it contains, and is not billed."""
    answer = served.client.post(
        path, content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers[UNITS] == "0"
    if answer.status_code == 422:
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))
        assert answer.json()["detail"]


def test_bytes_are_not_echoed(served):
    """A body that is not JSON is described by its size, and not sent back."""
    answer = served.client.post(
        "/size", content=b"\xff\x00" * 8, headers={"content-type": "application/octet-stream"}
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["input"] == "<16 bytes>"
