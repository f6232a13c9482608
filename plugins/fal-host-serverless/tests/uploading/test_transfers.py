"""Uploads to the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_core.events import Log
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.uploading.local_files import LocalFile, Selection
from fal_host_serverless.uploading.transfers import PART_SIZE, send_files


def test_files_are_uploaded_once(rest: Any, asking: SyncServerlessClient, tmp_path: Path):
    """Files that the service lacks are uploaded, in parts; it keeps them by their content."""
    (tmp_path / "large").write_bytes(b"x" * (PART_SIZE + 5))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "copy").write_bytes(b"")
    (tmp_path / "copy").chmod(0o644)
    (tmp_path / "empty").chmod(0o644)
    files = Selection(paths=(".",), folder=tmp_path).collect()
    lines: list[Log] = []
    with asking.rest() as client:
        sent = send_files(client, files, lines.append)
        assert [each.relative_path for each in sent] == ["copy", "empty", "large"]
        assert sent[0].hash == sent[1].hash
        assert {len(content) for content in rest.files.values()} == {0, PART_SIZE + 5}
        assert [len(part) for part in rest.parts[sent[2].hash].values()] == [PART_SIZE, 5]
        assert rest.facts[sent[2].hash]["size"] == str(PART_SIZE + 5)
        asked = len(rest.asked)
        assert send_files(client, files, lines.append) == sent
    assert rest.asked[asked:] == [("POST", "/files/missing_hashes")]
    # One is as long as a part, and two are alike.
    told = [line.message for line in lines]
    # After the first part, all seems to be sent.
    assert told == ["Uploading 2 files, 10.5 MB"]
    assert rest.headers[-1]["Authorization"] == "Key kid:ksecret"


def test_upload_that_fails_is_cancelled(
    rest: Any, asking: SyncServerlessClient, tmp_path: Path
):
    """A refused part cancels the upload, and the error names the file."""
    path = tmp_path / "file"
    path.write_text("content")
    file = LocalFile.read(path, "file")
    rest.failing.add(f"/files/app/multipart/{file.hash}/u/1")
    with asking.rest() as client, pytest.raises(FalServerlessError, match=str(path)):
        send_files(client, [file], lambda _: None)
    assert rest.asked[-1] == ("POST", f"/files/app/multipart/{file.hash}/u/cancel")
