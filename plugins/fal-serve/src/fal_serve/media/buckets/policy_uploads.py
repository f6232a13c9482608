"""Uploads by a policy: files that are put into the bucket of the client that sent a request."""

from __future__ import annotations

import contextlib
import io
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fal_serve.answering.requests import RequestContext, current
from fal_serve.exceptions import AppException
from fal_serve.media.errors import FileUploadException
from fal_serve.media.repositories import (
    LARGE,
    FileData,
    FileRepository,
    RepositoryId,
    Reservation,
    hold,
    is_default,
)
from fal_serve.media.uploads import send_until_taken
from fal_serve.policies.uploads import (
    HEADER,
    PLACEHOLDER,
    UploadPolicy,
    UploadPolicyInputError,
    is_sendable,
    parse_upload_policy,
    wrong,
)

#: What S3 takes in one form.
_MOST = 5 << 30
_PART = 1 << 20


class UploadPolicyError(FileUploadException, AppException):
    """The bucket of the caller does not take a file. It is answered with 424."""

    def __init__(self, message: str, status_code: int = 424) -> None:
        AppException.__init__(self, message, status_code)


def get_upload_policy(request: Any = None) -> UploadPolicy | None:
    """
    Return the policy of a request, or None if it has none.

    Arguments:
        request: A request of FastAPI, or of this package. None: the one that is answered.

    Raises:
        UploadPolicyInputError: It is wrong.
    """
    made_for = current.get() if request is None else request
    if made_for is None:
        return None
    if isinstance(made_for, RequestContext):
        return made_for.upload_policy
    text = made_for.headers.get(HEADER)
    return None if text is None else parse_upload_policy(text)


def repository_for(
    request: Any, repository: FileRepository | RepositoryId
) -> FileRepository | RepositoryId:
    """
    Return the repository that a file goes to: the caller's, where the request has a policy.

    Raises:
        UploadPolicyInputError: The application puts it into a repository of its own.
    """
    policy = get_upload_policy(request)
    if policy is None:
        return repository
    if not is_default(repository):
        # It is not shown itself: it may have credentials.
        name = repository if isinstance(repository, str) else type(repository).__name__
        raise UploadPolicyInputError(
            f"The application puts this file into {name}, and not into the bucket of the "
            f"header {HEADER}. Send the request without it."
        )
    return PolicyRepository(policy)


@dataclass
class PolicyRepository(FileRepository):
    """The bucket of a policy. A file is there before its URL is given out."""

    policy: UploadPolicy

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> str:
        return save_with_policy(self.policy, data.file_name, data.data, data.content_type)

    def save_file(
        self,
        file_path: str | Path,
        content_type: str,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        wait_for_completion: bool = False,
    ) -> tuple[str, FileData | None]:
        path = Path(file_path)
        is_large = path.stat().st_size > LARGE if multipart is None else multipart
        data = None if is_large else FileData(path.read_bytes(), content_type, path.name)
        content = path if data is None else data.data
        return save_with_policy(self.policy, path.name, content, content_type), data

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: dict[str, str] | None = None,
        request: Any = None,
        extra_headers: dict[str, str] | None = None,
    ) -> Reservation:
        return reserve_with_policy(self.policy, file_name, content_type, request)


def reserve_with_policy(
    policy: UploadPolicy, file_name: str, content_type: str, request: Any
) -> Reservation:
    """
    Return the URL that a file will have in the bucket of *policy*, once it was sent.

    Raises:
        UploadPolicyInputError: The policy does not fit the file.
    """
    form = _Form.fill(policy, file_name, content_type)
    return hold(form.file_url, lambda content: form.send(content, file_name))


def save_with_policy(
    policy: UploadPolicy,
    file_name: str,
    content: bytes | Path,
    content_type: str,
    *,
    name: str | None = None,
    request: Any = None,
) -> str:
    """
    Put a file into the bucket of *policy*, and return its URL.

    Arguments:
        name: What stands for the name of the file in its key. None: a new one.

    Raises:
        UploadPolicyInputError: The policy does not fit the file.

        UploadPolicyError: The bucket does not take it.
    """
    form = _Form.fill(policy, file_name, content_type, name)
    form.send(content, file_name)
    return form.file_url


@dataclass(frozen=True)
class _Form:
    """A form with one file, as S3 takes it."""

    url: str
    file_url: str
    head: bytes
    tail: bytes
    boundary: str

    @classmethod
    def fill(
        cls, policy: UploadPolicy, file_name: str, content_type: str, name: str | None = None
    ) -> _Form:
        last = file_name.replace("\\", "/").rpartition("/")[2]
        key = policy.fields["key"].replace(PLACEHOLDER, name or f"{uuid.uuid4().hex}-{last}")
        kinds = [v for n, v in policy.fields.items() if n.lower() == "content-type"]
        if not is_sendable(key) or not content_type.isascii() or not content_type.isprintable():
            raise UploadPolicyInputError("A file with such a name or type cannot be sent.")
        if kinds and kinds != [content_type]:
            raise wrong(f"it has files of type {kinds[0]!r}, and this one is {content_type!r}")
        fields = {**policy.fields, "key": key}
        if not kinds:
            fields["Content-Type"] = content_type
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{value}\r\n'
            for n, value in fields.items()
        ]
        file = 'Content-Disposition: form-data; name="file"; filename="file"'
        parts.append(f"--{boundary}\r\n{file}\r\nContent-Type: {content_type}\r\n\r\n")
        return cls(
            url=policy.url,
            file_url=f"{policy.url}/{urllib.parse.quote(key, safe='/~')}",
            head="".join(parts).encode(),
            tail=f"\r\n--{boundary}--\r\n".encode(),
            boundary=boundary,
        )

    def send(self, content: bytes | Path, name: str) -> None:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > _MOST:
            raise UploadPolicyInputError(
                f"File {name!r} has {size} bytes, and a bucket takes {_MOST} in one form."
            )
        headers = {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(len(self.head) + size + len(self.tail)),
        }

        def make(stack: contextlib.ExitStack) -> urllib.request.Request:
            source: IO[bytes] = (
                content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
            )
            body: Any = self._parts(stack.enter_context(source))
            return urllib.request.Request(self.url + "/", body, headers, method="POST")

        try:
            send_until_taken(make, name, ask=_OPENER.open)
        except FileUploadException as error:
            raise UploadPolicyError(f"By the header {HEADER}: {error}") from error

    def _parts(self, source: IO[bytes]) -> Iterator[bytes]:
        yield self.head
        while part := source.read(_PART):
            yield part
        yield self.tail


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else. A bucket that has taken a file may say where to go then."""

    def http_error_303(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        return fp

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
