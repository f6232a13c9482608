"""Calls of endpoints: arguments as requests, and responses as values."""

from __future__ import annotations

import inspect
import socket

import httpx
import pytest
from client_examples import Answer, Everything, Prompt

from fal_serve import AppClient, AppClientError
from fal_serve.client.endpoint_calls import EndpointCall, EventReader


def test_models_go_in_and_come_out(client):
    """A method takes its handler's arguments, by position or name, and returns its type."""
    assert client.model(Prompt(text="a", times=3)) == Answer(text="aaa")
    assert client.model(prompt={"text": "b"}) == Answer(text="b")
    assert client.two(Prompt(text="k"), 5) == {"k": 5}
    assert client.two(Prompt(text="k")) == {"k": 2}
    assert client.together(Prompt(text="one of many")) == Answer(text="one of many")


def test_arguments_stand_where_the_handler_has_them(client):
    """Queries, headers, files and bodies are sent as they are declared."""
    assert client.mixed(Prompt(text="a"), upper=True, note="b") == Answer(
        text="A B", upper=True
    )
    assert client.mixed(Prompt(text="a")) == Answer(text="a none")
    assert client.upload(b"12345") == 5
    assert client.raw() == b"\x00\x01"


def test_a_file_is_uploaded_by_its_path(client, tmp_path):
    """A path is uploaded as the file that it names."""
    (tmp_path / "file").write_bytes(b"abc")

    assert client.upload(tmp_path / "file") == 3


def test_several_files_are_uploaded_and_none_is_left_out(client):
    """A list is a file for each of its values, and None is no file."""
    assert client.upload_all([b"1", b"22"], None) == [1, 2]
    assert client.upload_all([b"1"], also=("named.txt", b"333")) == [1, 3]


@pytest.mark.parametrize("name", ["a b", "c?d=e#f", "100%25", "{folder}", "deep/er", "ü"])
def test_values_of_a_path_arrive_as_they_are(client, name):
    """Characters that have a meaning in URLs are escaped."""
    assert client.item("first", name) == ["first", name]


def test_headers_and_cookies_arrive_as_they_are(client):
    """A list is a header for each of its values, a cookie is quoted, and None is not sent."""
    assert client.labels(["a", "b"], "c; d=e", "f") == [["a", "b"], "c; d=e", "f"]
    assert client.labels(None, None, None) == [None, None, None]


def test_items_of_a_stream_have_their_type(client):
    """The items of a generator arrive one by one, with their type."""
    assert list(client.count(3)) == [Answer(text=text) for text in "012"]


def test_failures_are_errors_with_their_status(client):
    """An error response raises an exception with its status and detail."""
    with pytest.raises(AppClientError, match="not today") as caught:
        client.refused()
    assert caught.value.status_code == 418

    with pytest.raises(AppClientError, match="409: not today; nor tomorrow"):
        client.refused_twice()

    with pytest.raises(AppClientError, match="text: String should") as caught:
        client.model({"text": ""})
    assert caught.value.status_code == 422


def test_a_stream_that_fails_raises_after_its_items(client):
    """The items before an error arrive, and then the error."""
    stream = client.broken()

    assert next(stream) == 1
    with pytest.raises(AppClientError):
        next(stream)


@pytest.mark.parametrize("content", ["[" * 100_000, "{"], ids=["deep", "half"])
def test_response_that_cannot_be_read_is_an_error(content):
    """
    JSON that is nested too deeply, or is none, is an error of the client, in a response, in
    the item of a stream, and in the error of one.
    """
    call = EndpointCall(
        name="f",
        path="/f",
        signature=inspect.signature(lambda: None),
        fields={},
        embedded=False,
        output=None,
        streams=True,
    )
    response = httpx.Response(200, text=content, headers={"Content-Type": "application/json"})
    response.request = httpx.Request("POST", "http://localhost/f")
    with pytest.raises(AppClientError, match="/f answered with unreadable JSON"):
        call.read(response)
    for first in ("event: item", "event: error"):
        reader = EventReader(call)
        assert list(reader.read(first)) == []
        with pytest.raises(AppClientError, match="/f answered with unreadable JSON"):
            list(reader.read(f"data: {content}"))


def test_a_response_that_does_not_come_in_time_is_an_error():
    """A request that exceeds the timeout of its client has the status of a gateway's timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            AppClient(Everything, url, timeout=0.05) as client,
            pytest.raises(AppClientError, match="/two did not respond within") as caught,
        ):
            client.two(Prompt(text="a"))
    assert caught.value.status_code == 504
