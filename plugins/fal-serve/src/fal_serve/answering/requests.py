"""The request that the current code answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

from fal_serve.policies import uploads
from fal_serve.policies.uploads import UploadPolicy

logger: logging.Logger = logging.getLogger("fal_serve")

REQUEST_ID = b"x-fal-request-id"
ENDPOINT = "x-fal-endpoint"
LIFECYCLE_PREFERENCE = "x-fal-object-lifecycle-preference"
CDN_TOKEN = "x-fal-cdn-token"
_UPLOAD_POLICY = uploads.HEADER.encode()


@dataclass(frozen=True)
class RequestContext:
    """
    The request that a handler answers.

    Attributes:
        request_id: The id that the client sent, or one that was made here.

        endpoint: The name by which the client knows the endpoint.

        lifecycle_preference: How long objects made by the request are to be kept.

        headers: By lower-case names. If a handler puts another ``x-fal-cdn-token`` here, it
            is sent back to the client.

        upload_policy: Where the client has files of the response put, if it says that.
    """

    request_id: str | None
    endpoint: str | None
    lifecycle_preference: dict[str, str] | None
    headers: dict[str, str]
    upload_policy: UploadPolicy | None = None


#: The request that the current code works for.
current: ContextVar[RequestContext | None] = ContextVar("current", default=None)


class IncomingRequest(RequestContext):
    """A request whose headers are decoded when they are first used."""

    def __init__(self, request_id: str, raw: Sequence[tuple[bytes, bytes]]) -> None:
        own = self.__dict__
        own["request_id"] = request_id
        own["raw"] = raw

    @cached_property
    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.__dict__["raw"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @cached_property
    def endpoint(self) -> str | None:
        return self.headers.get(ENDPOINT)

    @cached_property
    def lifecycle_preference(self) -> dict[str, str] | None:
        text = self.headers.get(LIFECYCLE_PREFERENCE)
        if text is None:
            return None
        try:
            preference = json.loads(text)
        except (ValueError, RecursionError):
            preference = None
        if not isinstance(preference, dict):
            logger.warning("The header %s is not a JSON object: %s", LIFECYCLE_PREFERENCE, text)
            return None
        return preference

    @cached_property
    def upload_policy(self) -> UploadPolicy | None:
        # Most have none, and their headers are not decoded for it.
        if all(name != _UPLOAD_POLICY for name, _ in self.__dict__["raw"]):
            return None
        return uploads.parse_upload_policy(self.headers[uploads.HEADER])

    @property
    def reissued_token(self) -> str | None:
        """The CDN token, if the handler has replaced the client's."""
        # Headers that were never decoded cannot have been changed.
        headers = self.__dict__.get("headers")
        token: str | None = headers and headers.get(CDN_TOKEN)
        if not token:
            return None
        sent = (value for name, value in self.__dict__["raw"] if name == CDN_TOKEN.encode())
        return None if token.encode("latin-1", "replace") in sent else token
