"""Uploads to the service, which keeps each file once by its content."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fal_core.errors import FalServerlessError
from fal_core.events import Log, LogSink
from fal_core.reprs import show_size
from fal_host_serverless.uploading.local_files import LocalFile
from fal_host_serverless.wire.requests import UploadedFile
from fal_host_serverless.wire.rest import RestClient

#: The size of a part, in bytes.
PART_SIZE = 10 << 20
#: The number of files that are uploaded at once.
_AT_ONCE = 4
#: The number of attempts to upload a part.
_TRIES = 3
#: Seconds that the service keeps the source distribution of a local requirement.
SOURCE_KEPT = 3600
#: A server of fal-core finds content that it was sent before by this header.
DIGEST_HEADER = "X-Fal-Core-Digest"


def send_files(
    rest: RestClient, files: Iterable[LocalFile], log: LogSink
) -> list[UploadedFile]:
    """
    Upload those of *files* that the service lacks, and return all of them.

    Arguments:
        log: Takes a line before files are uploaded.

    Raises:
        FalServerlessError: The service does not accept one.
    """
    chosen = list(files)
    if not chosen:
        return []
    by_hash = {file.hash: file for file in chosen}
    missing = rest.send("POST", "/files/missing_hashes", json={"hashes": [*by_hash]}).json()
    wanted = [by_hash[each] for each in missing if each in by_hash]
    if wanted:
        files_of = "1 file" if len(wanted) == 1 else f"{len(wanted)} files"
        total = sum(file.size for file in wanted)
        log(Log(f"Uploading {files_of}, {show_size(total)}", "INFO", "BUILDER"))
        progress = _Progress(total, log)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(lambda file: _send_parts(rest, file, progress), wanted))
    return [UploadedFile(file.hash, file.relative_path) for file in chosen]


class _Progress:
    """Tells *log* how much of *total* bytes was sent, after each tenth of them."""

    def __init__(self, total: int, log: LogSink) -> None:
        self._total = total
        self._log = log
        self._sent = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """
        Count a part of *size* bytes. What is sent as one part, or as the last, is not told,
        nor is one after which all seems to be sent.
        """
        with self._lock:
            before, self._sent = self._sent, self._sent + size
            if self._sent < self._total and self._tenths(before) < self._tenths(self._sent):
                sent, total = show_size(self._sent), show_size(self._total)
                percent = 100 * self._sent // self._total
                if sent != total:
                    line = f"Uploaded {sent} of {total} ({percent} %)"
                    self._log(Log(line, "INFO", "BUILDER"))

    def _tenths(self, size: int) -> int:
        return 10 * size // self._total


def _send_parts(rest: RestClient, file: LocalFile, progress: _Progress) -> None:
    base = f"/files/app/multipart/{file.hash}"
    upload = rest.send("POST", f"{base}/initiate", json=file.facts).json()["upload_id"]
    parts: list[dict[str, Any]] = []
    try:
        for number in range(1, max(1, math.ceil(file.size / PART_SIZE)) + 1):
            response = _send_part(rest, f"{base}/{upload}/{number}", file, number)
            parts.append({"part_number": response["part_number"], "etag": response["etag"]})
            progress.add(min(PART_SIZE, file.size - (number - 1) * PART_SIZE))
        rest.send(
            "POST", f"{base}/{upload}/complete", json={"parts": parts, "metadata": file.facts}
        )
    except Exception as error:
        try:
            rest.send("POST", f"{base}/{upload}/cancel")
        except FalServerlessError:
            pass
        if isinstance(error, FalServerlessError):
            raise FalServerlessError(f"{file.path} was not uploaded: {error}") from error
        raise


def _send_part(rest: RestClient, path: str, file: LocalFile, number: int) -> Any:
    with file.path.open("rb") as stream:
        stream.seek((number - 1) * PART_SIZE)
        part = stream.read(PART_SIZE)
    name = file.path.name
    return rest.send("PUT", path, tries=_TRIES, files={"file_upload": (name, part)}).json()


def send_source(rest: RestClient, archive: Path, *, name: str, digest: str) -> str:
    """
    Upload a source distribution, and return the URL that an installer finds it at.

    The URL is valid for :data:`SOURCE_KEPT` seconds.

    Arguments:
        name: The file name of the archive at its URL.

        digest: The SHA-256 of the archive. A server of fal-core returns the same URL for
            content that it was sent before.

    Raises:
        FalServerlessError: The service does not accept it.
    """
    kind = {"file_name": name, "content_type": "application/gzip"}
    lifecycle = json.dumps({"expiration_duration_seconds": SOURCE_KEPT})
    response = rest.send(
        "POST",
        "/storage/upload/initiate?storage_type=fal-cdn-v3",
        json=kind,
        headers={
            "X-Fal-Object-Lifecycle": lifecycle,
            "X-Fal-Object-Lifecycle-Preference": lifecycle,
            DIGEST_HEADER: digest,
        },
    ).json()
    stored = rest.put(
        response["upload_url"], archive.read_bytes(), content_type=kind["content_type"]
    )
    if stored.is_error:
        raise FalServerlessError(
            f"{name} was not uploaded: the storage answers {stored.status_code}."
        )
    url: str = response["file_url"]
    return url
