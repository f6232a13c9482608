"""Logs: the lines of requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_serve.answering.logs import AccessLog, is_access_line


@given(st.text(), st.text(), st.text(), st.binary())
def test_line_of_the_log_is_json_whatever_is_asked_for(request_id, path, client, endpoint):
    """The line, which is formatted by hand, is JSON with the original values."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fal_core_worker.serving.services.write", lambda _, line: lines.append(line)
        )
        AccessLog().write(request_id, "GET", path, 200, 0.5, 3, (client, 1), endpoint, None)
    line = json.loads(lines[0])
    assert (line["request_id"], line["path"], line["client"]) == (request_id, path, client)
    assert line["endpoint"].encode("latin-1") == endpoint
    assert line["milliseconds"] == 500
    assert is_access_line(lines[0])


@pytest.mark.parametrize(
    "line",
    ["", "printed", '{"time":"2000","request_id":"r"}', '{"request_id":"r","method":"GET"}'],
)
def test_line_of_a_handler_is_not_of_the_access_log(line):
    """What a handler prints is told from the access log, though it is JSON too."""
    assert not is_access_line(line)
